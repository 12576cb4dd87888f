/* JPEG through libjpeg-turbo's row interface, for jpeg.rs.
 *
 * libjpeg reports errors with longjmp, which may not cross Rust frames: every call enters through `attempt`,
 * and nothing but C lies between its setjmp and the library. A codec is used by one thread at a time; the
 * library's own objects live for one call, so that no table of one image can leak into the next.
 *
 *   bytes ──► reader ──► rows ──► writer ──► bytes           decode, encode, recompress
 *                                   │
 *                                   └ quantised blocks ──► echo ──► rows      the round trips
 *
 * Huffman coding loses nothing, so the round trips hand the writer's quantised coefficients straight to a second
 * decompressor, one row of blocks at a time, while they are in the processor's cache.
 */
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jpeglib.h>

#include <jerror.h>

#if !defined(LIBJPEG_TURBO_VERSION_NUMBER)
#error "jpeg_shim.c needs libjpeg-turbo: the pixels of other libjpegs differ from Pillow's and OpenCV's"
#endif

/* The leading members of libjpeg's entropy coders (jpegint.h); the layout is that of every version since 6b. */
struct jpeg_entropy_encoder {
  void (*start_pass)(j_compress_ptr, boolean);
  boolean (*encode_mcu)(j_compress_ptr, JBLOCKROW *);
};
struct jpeg_entropy_decoder {
  void (*start_pass)(j_decompress_ptr);
  boolean (*decode_mcu)(j_decompress_ptr, JBLOCKROW *);
};

/* What a call returns; jpeg.rs mirrors the values. */
enum status { STATUS_DONE = 0, STATUS_TRUNCATED = 1, STATUS_CORRUPT = 2, STATUS_NO_MEMORY = 3, STATUS_UNSUPPORTED = 4 };

/* Rows handed to the library at once: the height of a 4:2:0 row of blocks. */
#define STRIP_ROWS 16
#define FIRST_OUTPUT_CAPACITY ((size_t)1 << 16)
#define INPUT_STEP ((size_t)1 << 16)

/* A scan of a few bytes makes the decoder pass over the whole image. Encoders write some ten of them. */
#define MAX_SCANS 100

struct codec {
  struct jpeg_decompress_struct reader;
  struct jpeg_source_mgr reader_source;
  struct jpeg_progress_mgr reader_progress;
  struct jpeg_compress_struct writer;
  struct jpeg_destination_mgr writer_destination;
  struct jpeg_decompress_struct echo;
  struct jpeg_source_mgr echo_source;
  struct jpeg_error_mgr errors;
  jmp_buf escape;
  enum status status;
  char message[JMSG_LENGTH_MAX];

  /* Input that the reader has not been shown yet, and how much of it a marker segment asked to skip. */
  size_t hidden;
  size_t skip;

  /* Kept between calls: the encoded output, the strip of native samples, the row of quantised blocks. */
  unsigned char *output;
  size_t output_capacity;
  unsigned char *strip;
  size_t strip_capacity;
  JBLOCK *blocks;
  size_t blocks_capacity;
  size_t blocks_written;
  size_t blocks_read;
};

/* An image as a caller passes it: only the members that its call needs are set. */
struct image {
  const unsigned char *bytes; /* encoded input */
  size_t length;
  const unsigned char *comment;
  size_t comment_length;
  const unsigned char *rows; /* pixels to encode */
  unsigned char *rgb;        /* decoded output, width * height * 3 bytes */
  uint32_t width;
  uint32_t height;
  int components;
  int quality; /* negative: the library's default */
};

static J_COLOR_SPACE native_space(int components) {
  return components == 1 ? JCS_GRAYSCALE : components == 3 ? JCS_RGB : JCS_CMYK;
}

/* --- Errors ------------------------------------------------------------------------------------------------ */

static void fail(struct codec *codec, enum status status, const char *message) {
  snprintf(codec->message, sizeof codec->message, "%s", message);
  codec->status = status;
  longjmp(codec->escape, 1);
}

static void on_error(j_common_ptr common) {
  struct codec *codec = common->client_data;
  common->err->format_message(common, codec->message);
  codec->status = common->err->msg_code == JERR_OUT_OF_MEMORY ? STATUS_NO_MEMORY : STATUS_CORRUPT;
  longjmp(codec->escape, 1);
}

static void on_message(j_common_ptr common) { (void)common; }

static void *grow(struct codec *codec, void *buffer, size_t *capacity, size_t count, size_t size) {
  if (*capacity >= count) return buffer;
  void *grown = count > SIZE_MAX / size ? NULL : realloc(buffer, count * size);
  if (grown == NULL) fail(codec, STATUS_NO_MEMORY, "out of memory");
  *capacity = count;
  return grown;
}

/* Runs one job between setjmp and the release of the library's objects. */
static int attempt(struct codec *codec, void (*job)(struct codec *, struct image *), struct image *image) {
  codec->status = STATUS_DONE;
  codec->message[0] = '\0';
  if (setjmp(codec->escape) == 0) job(codec, image);
  jpeg_destroy_decompress(&codec->reader);
  jpeg_destroy_decompress(&codec->echo);
  jpeg_destroy_compress(&codec->writer);
  return codec->status;
}

/* --- Reading ----------------------------------------------------------------------------------------------- */

static void on_source(j_decompress_ptr reader) { (void)reader; }

/* Asking for more suspends the decoder: that is how a truncated file differs from a merely corrupt one. */
static boolean on_source_empty(j_decompress_ptr reader) {
  (void)reader;
  return FALSE;
}

static void on_source_skip(j_decompress_ptr reader, long count) {
  struct codec *codec = reader->client_data;
  struct jpeg_source_mgr *source = reader->src;
  size_t wanted = count > 0 ? (size_t)count : 0;
  size_t skipped = wanted < source->bytes_in_buffer ? wanted : source->bytes_in_buffer;
  source->next_input_byte += skipped;
  source->bytes_in_buffer -= skipped;
  codec->skip = wanted - skipped;
}

/* Shows the reader the next 64 KiB, in the very steps in which Pillow reads a file: where a broken file is
 * refused depends on what the decoder has seen when the last row is complete. */
static int show_more(struct codec *codec) {
  struct jpeg_source_mgr *source = &codec->reader_source;
  size_t count = codec->hidden < INPUT_STEP ? codec->hidden : INPUT_STEP;
  source->bytes_in_buffer += count;
  codec->hidden -= count;
  if (codec->skip > 0) on_source_skip(&codec->reader, (long)codec->skip);
  return count > 0;
}

static void create_reader(struct codec *codec, struct jpeg_decompress_struct *reader,
                          struct jpeg_source_mgr *source, const unsigned char *bytes, size_t length) {
  reader->err = &codec->errors;
  reader->client_data = codec;
  jpeg_create_decompress(reader);
  source->init_source = on_source;
  source->fill_input_buffer = on_source_empty;
  source->skip_input_data = on_source_skip;
  source->resync_to_restart = jpeg_resync_to_restart;
  source->term_source = on_source;
  source->next_input_byte = bytes;
  source->bytes_in_buffer = length;
  reader->src = source;
}

static void on_reader_progress(j_common_ptr reader) {
  struct codec *codec = reader->client_data;
  if (codec->reader.input_scan_number <= MAX_SCANS) return;
  char message[JMSG_LENGTH_MAX];
  snprintf(message, sizeof message, "more than %d scans", MAX_SCANS);
  fail(codec, STATUS_UNSUPPORTED, message);
}

/* Opens the input image and holds it against the size that the caller has allocated for. */
static void open_input(struct codec *codec, const struct image *image, J_COLOR_SPACE space) {
  struct jpeg_decompress_struct *reader = &codec->reader;
  create_reader(codec, reader, &codec->reader_source, image->bytes, 0);
  codec->reader_progress.progress_monitor = on_reader_progress;
  reader->progress = &codec->reader_progress;
  codec->hidden = image->length;
  codec->skip = 0;
  for (int header = JPEG_SUSPENDED; header != JPEG_HEADER_OK;) {
    header = jpeg_read_header(reader, FALSE); /* a stream of tables alone may precede the image */
    if (header == JPEG_SUSPENDED && !show_more(codec)) fail(codec, STATUS_TRUNCATED, "the data end inside the header");
  }
  if (reader->image_width != image->width || reader->image_height != image->height ||
      reader->num_components != image->components)
    fail(codec, STATUS_CORRUPT, "two frame headers contradict each other");
  reader->out_color_space = space;
  while (!jpeg_start_decompress(reader))
    if (!show_more(codec)) fail(codec, STATUS_TRUNCATED, "the data end before the last scan");
}

static void read_rows(struct codec *codec, JSAMPROW *rows, JDIMENSION count) {
  for (JDIMENSION done = 0; done < count;) {
    JDIMENSION read = jpeg_read_scanlines(&codec->reader, rows + done, count - done);
    if (read == 0 && !show_more(codec)) {
      char message[JMSG_LENGTH_MAX];
      snprintf(message, sizeof message, "the data end before row %u of %u",
               (unsigned)codec->reader.output_scanline + 1, (unsigned)codec->reader.output_height);
      fail(codec, STATUS_TRUNCATED, message);
    }
    done += read;
  }
}

/* Every row is there: as for Pillow, data that end before the end-of-image marker do no more harm here. They
 * seldom get this far, because the entropy decoder reads ahead. */
static void finish_input(struct codec *codec) { (void)jpeg_finish_decompress(&codec->reader); }

/* --- Writing ----------------------------------------------------------------------------------------------- */

static void on_destination(j_compress_ptr writer) {
  struct codec *codec = writer->client_data;
  codec->output = grow(codec, codec->output, &codec->output_capacity, FIRST_OUTPUT_CAPACITY, 1);
  writer->dest->next_output_byte = codec->output;
  writer->dest->free_in_buffer = codec->output_capacity;
}

static boolean on_destination_full(j_compress_ptr writer) {
  struct codec *codec = writer->client_data;
  size_t used = codec->output_capacity;
  codec->output = grow(codec, codec->output, &codec->output_capacity, used * 2, 1);
  writer->dest->next_output_byte = codec->output + used;
  writer->dest->free_in_buffer = codec->output_capacity - used;
  return TRUE;
}

static void on_destination_end(j_compress_ptr writer) { (void)writer; }

static size_t output_length(const struct codec *codec) {
  return codec->output_capacity - codec->writer_destination.free_in_buffer;
}

/* The library's defaults are Pillow's: quality 75, 4:2:0 for colour, the standard Huffman tables; four
 * components are stored as they come, behind an Adobe marker. */
static void open_writer(struct codec *codec, const struct image *image) {
  struct jpeg_compress_struct *writer = &codec->writer;
  writer->err = &codec->errors;
  writer->client_data = codec;
  jpeg_create_compress(writer);
  codec->writer_destination.init_destination = on_destination;
  codec->writer_destination.empty_output_buffer = on_destination_full;
  codec->writer_destination.term_destination = on_destination_end;
  writer->dest = &codec->writer_destination;
  writer->image_width = image->width;
  writer->image_height = image->height;
  writer->input_components = image->components;
  writer->in_color_space = native_space(image->components);
  jpeg_set_defaults(writer);
  if (image->quality >= 0) jpeg_set_quality(writer, image->quality, TRUE);
  jpeg_start_compress(writer, TRUE);
  if (image->comment_length > 0)
    jpeg_write_marker(writer, JPEG_COM, image->comment, (unsigned)image->comment_length);
}

/* --- From blocks to rows, without the bytes in between ------------------------------------------------------ */

static boolean put_blocks(j_compress_ptr writer, JBLOCKROW *mcu) {
  struct codec *codec = writer->client_data;
  size_t count = (size_t)writer->blocks_in_MCU;
  if (codec->blocks_written + count > codec->blocks_capacity) ERREXIT(writer, JERR_BUFFER_SIZE);
  for (size_t block = 0; block < count; block++)
    memcpy(codec->blocks[codec->blocks_written++], mcu[block], sizeof(JBLOCK));
  return TRUE;
}

static boolean get_blocks(j_decompress_ptr echo, JBLOCKROW *mcu) {
  struct codec *codec = echo->client_data;
  size_t count = (size_t)echo->blocks_in_MCU;
  if (codec->blocks_read + count > codec->blocks_written) return FALSE;
  for (size_t block = 0; block < count; block++)
    memcpy(mcu[block], codec->blocks[codec->blocks_read++], sizeof(JBLOCK));
  return TRUE;
}

/* Makes the writer keep its quantised blocks: to be called before its first row. */
static void divert_writer(struct codec *codec) {
  size_t row = (size_t)codec->writer.MCUs_per_row * (size_t)codec->writer.blocks_in_MCU;
  codec->blocks = grow(codec, codec->blocks, &codec->blocks_capacity, row, sizeof(JBLOCK));
  codec->writer.entropy->encode_mcu = put_blocks;
  codec->blocks_written = codec->blocks_read = 0;
}

/* Opens the second decompressor on the header that the writer has written by its first row. */
static void open_echo(struct codec *codec, J_COLOR_SPACE space) {
  struct jpeg_decompress_struct *echo = &codec->echo;
  create_reader(codec, echo, &codec->echo_source, codec->output, output_length(codec));
  int header = jpeg_read_header(echo, TRUE);
  echo->out_color_space = space;
  if (header != JPEG_HEADER_OK || !jpeg_start_decompress(echo)) ERREXIT(echo, JERR_CANT_SUSPEND);
  echo->entropy->decode_mcu = get_blocks;
}

/* Pillow's conversion of inverted CMYK, which is how it takes every CMYK JPEG:
 * rgb = K - round((255 - CMY) * K / 255). */
static void cmyk_to_rgb(const unsigned char *cmyk, unsigned char *rgb, size_t width) {
  for (size_t column = 0; column < width; column++, cmyk += 4, rgb += 3) {
    unsigned black = cmyk[3];
    for (int channel = 0; channel < 3; channel++) {
      unsigned product = (255u - cmyk[channel]) * black + 128u;
      rgb[channel] = (unsigned char)(black - (((product >> 8) + product) >> 8));
    }
  }
}

/* Points `rows` at consecutive rows of `bytes_per_row` bytes. */
static void point_rows(JSAMPROW *rows, unsigned char *first, size_t bytes_per_row, JDIMENSION count) {
  for (JDIMENSION row = 0; row < count; row++) rows[row] = first + row * bytes_per_row;
}

static JDIMENSION strip_rows(uint32_t height, uint32_t done) {
  return height - done < STRIP_ROWS ? height - done : STRIP_ROWS;
}

/* Hands out all rows that can be made from the blocks there are. */
static void drain_echo(struct codec *codec, const struct image *image) {
  struct jpeg_decompress_struct *echo = &codec->echo;
  size_t stride = (size_t)image->width * 3;
  while (echo->output_scanline < echo->output_height) {
    unsigned char *target = image->rgb + echo->output_scanline * stride;
    JDIMENSION count = strip_rows(echo->output_height, echo->output_scanline);
    JSAMPROW rows[STRIP_ROWS];
    if (image->components == 4)
      point_rows(rows, codec->strip, (size_t)image->width * 4, count);
    else
      point_rows(rows, target, stride, count);
    JDIMENSION read = jpeg_read_scanlines(echo, rows, count);
    if (read == 0) return;
    if (image->components == 4)
      for (JDIMENSION row = 0; row < read; row++) cmyk_to_rgb(rows[row], target + row * stride, image->width);
  }
}

/* Writes a strip and takes out what comes back; a strip is at least one row of blocks, whose memory is then
 * free for the next. */
static void echo_rows(struct codec *codec, const struct image *image, JSAMPROW *rows, JDIMENSION count) {
  JDIMENSION block_rows = (JDIMENSION)(codec->writer.max_v_samp_factor * DCTSIZE);
  for (JDIMENSION done = 0; done < count;) {
    JDIMENSION part = count - done < block_rows ? count - done : block_rows;
    codec->blocks_written = codec->blocks_read = 0;
    if (jpeg_write_scanlines(&codec->writer, rows + done, part) != part) ERREXIT(&codec->writer, JERR_BUFFER_SIZE);
    if (codec->echo.mem == NULL) open_echo(codec, image->components == 4 ? JCS_CMYK : JCS_RGB);
    drain_echo(codec, image);
    done += part;
  }
}

static void finish_echo(struct codec *codec) {
  if (codec->echo.output_scanline != codec->echo.output_height)
    fail(codec, STATUS_CORRUPT, "rows are missing from the round trip");
}

/* --- Jobs -------------------------------------------------------------------------------------------------- */

static void decode_rgb(struct codec *codec, struct image *image) {
  size_t stride = (size_t)image->width * 3;
  int is_cmyk = image->components == 4;
  open_input(codec, image, is_cmyk ? JCS_CMYK : JCS_RGB);
  if (is_cmyk)
    codec->strip = grow(codec, codec->strip, &codec->strip_capacity, (size_t)image->width * 4 * STRIP_ROWS, 1);
  for (uint32_t done = 0; done < image->height;) {
    JDIMENSION count = strip_rows(image->height, done);
    JSAMPROW rows[STRIP_ROWS];
    if (is_cmyk)
      point_rows(rows, codec->strip, (size_t)image->width * 4, count);
    else
      point_rows(rows, image->rgb + done * stride, stride, count);
    read_rows(codec, rows, count);
    if (is_cmyk)
      for (JDIMENSION row = 0; row < count; row++)
        cmyk_to_rgb(rows[row], image->rgb + (done + row) * stride, image->width);
    done += count;
  }
  finish_input(codec);
}

static void encode(struct codec *codec, struct image *image) {
  size_t stride = (size_t)image->width * (size_t)image->components;
  open_writer(codec, image);
  for (uint32_t done = 0; done < image->height;) {
    JDIMENSION count = strip_rows(image->height, done);
    JSAMPROW rows[STRIP_ROWS];
    /* libjpeg takes its input through pointers that are not const, and only reads. */
    point_rows(rows, (unsigned char *)image->rows + done * stride, stride, count);
    done += jpeg_write_scanlines(&codec->writer, rows, count);
  }
  jpeg_finish_compress(&codec->writer);
}

/* Opens reader and writer on the input's own components: grey stays grey, CMYK stays CMYK. */
static size_t open_recompression(struct codec *codec, const struct image *image) {
  size_t stride = (size_t)image->width * (size_t)image->components;
  open_input(codec, image, native_space(image->components));
  open_writer(codec, image);
  /* The upper half holds what the second decompressor hands out in four components. */
  codec->strip = grow(codec, codec->strip, &codec->strip_capacity, stride * STRIP_ROWS * 2, 1);
  return stride;
}

static void recompress(struct codec *codec, struct image *image) {
  size_t stride = open_recompression(codec, image);
  for (uint32_t done = 0; done < image->height;) {
    JDIMENSION count = strip_rows(image->height, done);
    JSAMPROW rows[STRIP_ROWS];
    point_rows(rows, codec->strip, stride, count);
    read_rows(codec, rows, count);
    done += jpeg_write_scanlines(&codec->writer, rows, count);
  }
  finish_input(codec);
  jpeg_finish_compress(&codec->writer);
}

static void recompress_decode_rgb(struct codec *codec, struct image *image) {
  size_t stride = open_recompression(codec, image);
  divert_writer(codec);
  for (uint32_t done = 0; done < image->height;) {
    JDIMENSION count = strip_rows(image->height, done);
    JSAMPROW rows[STRIP_ROWS];
    point_rows(rows, codec->strip + stride * STRIP_ROWS, stride, count);
    read_rows(codec, rows, count);
    echo_rows(codec, image, rows, count);
    done += count;
  }
  finish_input(codec);
  finish_echo(codec);
}

/* In place: a row comes back only after the writer has taken in the whole row of blocks that it lies in. */
static void round_trip_rgb(struct codec *codec, struct image *image) {
  size_t stride = (size_t)image->width * 3;
  open_writer(codec, image);
  divert_writer(codec);
  for (uint32_t done = 0; done < image->height;) {
    JDIMENSION count = strip_rows(image->height, done);
    JSAMPROW rows[STRIP_ROWS];
    point_rows(rows, image->rgb + done * stride, stride, count);
    echo_rows(codec, image, rows, count);
    done += count;
  }
  finish_echo(codec);
}

/* --- What jpeg.rs calls ------------------------------------------------------------------------------------ */

struct codec *dfresearch_jpeg_create(void) {
  struct codec *codec = calloc(1, sizeof *codec);
  if (codec == NULL) return NULL;
  jpeg_std_error(&codec->errors);
  codec->errors.error_exit = on_error;
  codec->errors.output_message = on_message;
  return codec;
}

void dfresearch_jpeg_destroy(struct codec *codec) {
  free(codec->output);
  free(codec->strip);
  free(codec->blocks);
  free(codec);
}

const char *dfresearch_jpeg_message(const struct codec *codec) { return codec->message; }

const unsigned char *dfresearch_jpeg_output(const struct codec *codec, size_t *length) {
  *length = output_length(codec);
  return codec->output;
}

int dfresearch_jpeg_decode_rgb(struct codec *codec, struct image *image) {
  return attempt(codec, decode_rgb, image);
}

int dfresearch_jpeg_encode(struct codec *codec, struct image *image) { return attempt(codec, encode, image); }

int dfresearch_jpeg_recompress(struct codec *codec, struct image *image) {
  return attempt(codec, recompress, image);
}

int dfresearch_jpeg_recompress_decode_rgb(struct codec *codec, struct image *image) {
  return attempt(codec, recompress_decode_rgb, image);
}

int dfresearch_jpeg_round_trip_rgb(struct codec *codec, struct image *image) {
  return attempt(codec, round_trip_rgb, image);
}
