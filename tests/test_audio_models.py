"""The audio detectors: shapes, published sizes, what their backbones hear, weights, submissions, what offline says."""

import copy
from types import SimpleNamespace

import numpy as np
import pytest
import scipy.fft
import scipy.ndimage
import scipy.signal
import torch
import transformers
from model_checks import (
    ask_the_hub,
    assert_foreign_weights_are_refused,
    assert_names_the_ways_around,
    assert_same_tensors,
    evaluator,
    load_model_of,
    one_thread,
    pack,
    parameter_count,
    part_of,
    relative_error_of_neighbours,
    snapshot_folder,
)
from safetensors.torch import save_file

from dfresearch.models import get_model, list_models
from dfresearch.models.audio import ast, lfcc_lcnn, wav2vec2, wavlm

pytestmark = pytest.mark.usefixtures(one_thread.__name__)

AUDIO_MODELS = list_models("audio")
PUBLISHED_BACKBONES = ["wav2vec2", "ast", "wavlm"]
FREEZABLE = ["wav2vec2", "wavlm"]
HALF_SECOND = 8000
assert callable(evaluator)

# Small versions of the published configurations, for what is compared with other implementations.
SMALL_SPEECH = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "conv_dim": (8,) * 7,
    "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 2,
}
SMALL_AST = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}


@pytest.fixture(scope="module", params=AUDIO_MODELS)
def built_model(request):
    """One at a time, at full size, which short waveforms make cheap enough."""
    torch.manual_seed(0)
    return get_model("audio", request.param, pretrained=False)


@pytest.fixture
def audio_model(built_model):
    return built_model.train(False)


@pytest.fixture
def small_configs(monkeypatch):
    monkeypatch.setattr(ast, "backbone_config", lambda: transformers.ASTConfig(**SMALL_AST))
    for module, config in ((wav2vec2, transformers.Wav2Vec2Config), (wavlm, transformers.WavLMConfig)):
        small = config(**SMALL_SPEECH, **module.FINE_TUNING)
        monkeypatch.setattr(module, "backbone_config", lambda small=small: small)


def random_waveforms(count, samples=HALF_SECOND, seed=1):
    """Noise of another loudness and colour in each."""
    generator = torch.Generator().manual_seed(seed)
    noise = 0.1 * torch.randn(count, samples, generator=generator)
    for index in range(1, count):
        noise[index, index:] += 0.9 * noise[index, :-index]
        noise[index] *= 2.0**index
    return noise


# --- what a detector is -----------------------------------------------------------------------------------------------


def transformer_parameters(width=768, layers=12, hidden=3072):
    """Blocks of attention, feed-forward network and two norms, counted by hand."""
    return layers * (4 * (width * width + width) + 2 * width * hidden + hidden + width + 4 * width)


def wav2vec2_parameters():
    """The base model of the paper: seven convolutions of 512, a projection, positions by convolution, 12 blocks."""
    convolutions = 512 * 10 + 4 * 512 * 512 * 3 + 2 * 512 * 512 * 2 + 2 * 512
    projection = 2 * 512 + 512 * 768 + 768
    positions = 768 * (768 // 16) * 128 + 128 + 768
    return convolutions + projection + positions + 2 * 768 + transformer_parameters()


@pytest.mark.parametrize(
    ("name", "backbone_parameters", "published_rest", "published_millions"),
    [
        # The paper's 95 M hold the quantizer; torchaudio's model, with the mask's vector, has 94.37 M.
        ("wav2vec2", wav2vec2_parameters(), 768, 94.37),
        # Each block gates positions by head: 64 inputs to 8, and a constant; 320 buckets of positions once.
        ("wavlm", wav2vec2_parameters() + 12 * (12 + 64 * 8 + 8) + 320 * 12, 768, 94.38),
        # The hub's 86.6 M hold the norm and the classifier of 527 classes. 12 x 101 patches and two class tokens.
        (
            "ast",
            16 * 16 * 768 + 768 + (12 * 101 + 2 + 2) * 768 + transformer_parameters() + 2 * 768,
            2 * 768 + 527 * 768 + 527,
            86.59,
        ),
    ],
)
def test_parameter_counts_are_the_published_ones(name, backbone_parameters, published_rest, published_millions):
    with torch.device("meta"):
        model = get_model("audio", name, pretrained=False)
    assert parameter_count(model.backbone) == backbone_parameters
    assert (backbone_parameters + published_rest) / 1e6 == pytest.approx(published_millions, abs=0.01)
    assert parameter_count(model) == backbone_parameters + 2 * 768 + 2


def test_lcnn_has_the_parameters_of_the_baseline():
    convolutions = [(1, 64, 5), (32, 64, 1), (32, 96, 3), (48, 96, 1), (48, 128, 3)]
    convolutions += [(64, 128, 1), (64, 64, 3), (32, 64, 1), (32, 64, 3)]
    counted = sum(inputs * outputs * side * side + outputs for inputs, outputs, side in convolutions)
    one_direction = 4 * 48 * (96 + 48) + 2 * 4 * 48
    with torch.device("meta"):
        model = get_model("audio", "lfcc-lcnn")
    assert parameter_count(model) == counted + 2 * 2 * one_direction + 2 * 96 + 2


@pytest.mark.parametrize("samples", [96000, 12345, 50])
def test_waveforms_of_any_length_give_one_column_per_class(audio_model, samples):
    with torch.no_grad():
        logits = audio_model(random_waveforms(1, samples))
    assert logits.shape == (1, 2)
    assert logits.dtype == torch.float32
    assert logits.isfinite().all()


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_silence_and_a_constant_give_finite_logits(audio_model, value):
    with torch.no_grad():
        assert audio_model(torch.full((1, HALF_SECOND), value)).isfinite().all()


@pytest.mark.parametrize("name", AUDIO_MODELS)
def test_number_of_classes_and_dropout_are_taken(name, small_configs):
    model = get_model("audio", name, num_classes=3, pretrained=False, dropout=0.125).train(False)
    with torch.no_grad():
        assert model(random_waveforms(1)).shape == (1, 3)
    assert 0.125 in [module.p for module in model.modules() if isinstance(module, torch.nn.Dropout)]


def test_a_samples_logits_do_not_depend_on_its_neighbours(built_model):
    # In double precision, since a random deep network magnifies single precision's rounding. What is heard stays in
    # single precision in some of them: hence the tolerance.
    model = copy.deepcopy(built_model).double().train(False)
    assert relative_error_of_neighbours(model, random_waveforms(3)) < 1e-3


def test_reduced_precision_works(built_model):
    model = copy.deepcopy(built_model).to(torch.bfloat16).train(False)
    with torch.no_grad():
        logits = model(random_waveforms(1))
    assert logits.dtype == torch.bfloat16
    assert logits.isfinite().all()


def test_gradients_reach_every_parameter_that_is_trained(built_model):
    # A tenth of a second: time masks, were they on, would not fit in.
    model = copy.deepcopy(built_model).train(True)
    torch.nn.functional.cross_entropy(model(random_waveforms(2, 1600)), torch.tensor([0, 1])).backward()
    trained = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert [name for name, parameter in trained.items() if parameter.grad is None] == []
    frozen = set(dict(model.named_parameters())) - set(trained)
    assert all(name.startswith("backbone.feature_extractor.") for name in frozen)


@pytest.mark.parametrize("name", FREEZABLE)
@pytest.mark.parametrize("frozen", [True, False])
def test_the_feature_encoder_is_frozen_on_demand(name, frozen, small_configs):
    model = get_model("audio", name, pretrained=False, freeze_feature_encoder=frozen)
    of_the_encoder = part_of(dict(model.named_parameters()), "backbone.feature_extractor.")
    assert of_the_encoder
    assert all(parameter.requires_grad is not frozen for parameter in of_the_encoder.values())
    assert all(
        parameter.requires_grad for parameter in (*model.backbone.encoder.parameters(), *model.head.parameters())
    )


# --- what the networks hear -------------------------------------------------------------------------------------------


def test_wav2vec2_hears_waveforms_as_the_published_extraction_gives_them(small_configs):
    waveforms = random_waveforms(3) + 0.2
    extract = transformers.Wav2Vec2FeatureExtractor(do_normalize=True)
    expected = extract(list(waveforms.numpy()), sampling_rate=16000, return_tensors="pt").input_values
    torch.testing.assert_close(wav2vec2.normalise(waveforms), expected, rtol=0, atol=1e-5)
    model = get_model("audio", "wav2vec2", pretrained=False).train(False)
    with torch.no_grad():
        features = model.backbone(expected).last_hidden_state.mean(dim=1)
        torch.testing.assert_close(model(waveforms), model.head(features), rtol=1e-4, atol=1e-5)


def test_wavlm_hears_waveforms_as_they_are(small_configs):
    waveforms = random_waveforms(3) + 0.2
    model = get_model("audio", "wavlm", pretrained=False).train(False)
    with torch.no_grad():
        features = model.backbone(waveforms).last_hidden_state.mean(dim=1)
        torch.testing.assert_close(model(waveforms), model.head(features), rtol=0, atol=0)


@pytest.mark.parametrize("scale", [1.0, 1e-3])
def test_log_mel_equals_the_published_extraction(scale):
    # Without torchaudio, transformers computes Kaldi's features by NumPy in double precision.
    extract = transformers.ASTFeatureExtractor(do_normalize=False)
    time = torch.arange(96000) / 16000
    waveforms = scale * (random_waveforms(2, 96000) + 0.3 * torch.sin(2 * torch.pi * (200 + 500 * time) * time))
    found = ast.LogMel()(waveforms)
    assert found.shape == (2, 598, 128)
    expected = extract(list(waveforms.numpy()), sampling_rate=16000, return_tensors="pt").input_values[:, :598]
    torch.testing.assert_close(found, expected, rtol=0, atol=2e-3)


def test_ast_equals_the_published_model_on_clips_of_its_length(small_configs):
    torch.manual_seed(0)
    model = get_model("audio", "ast", pretrained=False).train(False)
    torch.nn.init.normal_(model.backbone.embeddings.position_embeddings)
    # 1024 frames: nothing is cut from the positions.
    waveforms = random_waveforms(2, 400 + 1023 * 160)
    features = transformers.ASTFeatureExtractor()(list(waveforms.numpy()), sampling_rate=16000, return_tensors="pt")
    with torch.no_grad():
        expected = model.head(model.backbone(features.input_values).pooler_output)
        torch.testing.assert_close(model(waveforms), expected, rtol=1e-3, atol=1e-3)


def test_ast_takes_the_middle_of_the_position_embeddings_and_stretches_them_beyond(small_configs):
    model = get_model("audio", "ast", pretrained=False)
    stored = model.backbone.embeddings.position_embeddings
    with torch.no_grad():
        stored[0, 2:] = torch.arange(101.0).repeat(12)[:, None]
        stored[0, :2] = -1.0
    found = model.position_embeddings(12, 59)
    assert found.shape == (1, 2 + 12 * 59, 16)
    assert (found[:, :2] == -1).all()
    torch.testing.assert_close(found[0, 2 : 2 + 59, 0], torch.arange(21.0, 80.0), rtol=0, atol=0)
    longer = model.position_embeddings(12, 202)[0, 2 : 2 + 202, 0]
    torch.testing.assert_close(longer[1:-1], torch.arange(202.0)[1:-1] / 2 - 0.25, rtol=0, atol=1e-4)


def lfcc_by_scipy(waveform):
    """The features of the ASVspoof baseline over the whole band, from their description, in double precision."""
    emphasised = scipy.signal.lfilter([1.0, -0.97], [1.0], waveform.astype(np.float64))
    emphasised[0] = waveform[0]
    padded = np.pad(emphasised, 160)
    frames = np.stack([padded[start : start + 320] for start in range(0, len(waveform) + 1, 160)])
    frames = frames * scipy.signal.get_window("hamming", 320)
    power = np.abs(scipy.fft.rfft(frames, 1024)) ** 2
    edges = np.linspace(0, 8000, 22)
    frequencies = np.linspace(0, 8000, 513)
    filters = np.stack([np.interp(frequencies, edges[band : band + 3], [0, 1, 0]) for band in range(20)], axis=1)
    epsilon = np.finfo(np.float32).eps
    cepstrum = scipy.fft.dct(np.log10(power @ filters + epsilon), norm="ortho")
    cepstrum[:, 0] = np.log10(power.sum(axis=1) / 1024 + epsilon)
    first = scipy.ndimage.correlate1d(cepstrum, [-1, 0, 1], axis=0, mode="nearest")
    second = scipy.ndimage.correlate1d(first, [-1, 0, 1], axis=0, mode="nearest")
    return np.concatenate((cepstrum, first, second), axis=1)


@pytest.mark.parametrize("samples", [96000, 8123])
def test_lfcc_equals_scipys(samples):
    waveforms = random_waveforms(2, samples)
    found = lfcc_lcnn.Lfcc()(waveforms)
    assert found.shape == (2, 1 + samples // 160, 60)
    expected = torch.from_numpy(np.stack([lfcc_by_scipy(waveform.numpy()) for waveform in waveforms]))
    torch.testing.assert_close(found.double(), expected, rtol=0, atol=1e-4)


def test_what_is_heard_is_in_single_precision_under_autocast():
    waveforms = 1e-3 * random_waveforms(2)
    for extract in (ast.LogMel(), lfcc_lcnn.Lfcc(), wav2vec2.normalise):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            found = extract(waveforms)
        torch.testing.assert_close(found, extract(waveforms), rtol=0, atol=0)


def test_lcnn_learns_a_missing_band_from_scratch():
    torch.manual_seed(0)
    model = get_model("audio", "lfcc-lcnn", dropout=0.0)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)

    def draw_batch(count):
        labels = torch.arange(count) % 2
        spectrum = torch.fft.rfft(0.1 * torch.randn(count, 8000))
        # From 5 to 6 kHz.
        spectrum[labels == 1, 2500:3000] *= 0.3
        return torch.fft.irfft(spectrum), labels

    for _ in range(40):
        waveforms, labels = draw_batch(8)
        loss = torch.nn.functional.cross_entropy(model(waveforms), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    waveforms, labels = draw_batch(48)
    with torch.no_grad():
        accuracy = (model.train(False)(waveforms).argmax(1) == labels).float().mean()
    assert accuracy > 0.9


# --- weights ----------------------------------------------------------------------------------------------------------


def test_a_submission_gives_the_same_logits_by_its_own_source(built_model, request, evaluator, tmp_path):
    name = request.node.callspec.params["built_model"]
    archive = pack("audio", name, built_model.state_dict(), None, tmp_path)
    waveforms = random_waveforms(2)
    with torch.no_grad():
        expected = built_model.train(False)(waveforms)
    found = evaluator.logits(archive, waveforms, tmp_path / "submission")
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", AUDIO_MODELS)
def test_saved_weights_come_back_exactly_and_foreign_ones_are_refused(name, small_configs, tmp_path):
    model = get_model("audio", name, pretrained=False).train(False)
    save_file(model.state_dict(), tmp_path / "model.safetensors")
    loaded = load_model_of(model)(str(tmp_path / "model.safetensors"), num_classes=2, name="anything", dropout=0.5)
    assert not loaded.training
    waveforms = random_waveforms(2)
    with torch.no_grad():
        torch.testing.assert_close(loaded(waveforms), model(waveforms), rtol=0, atol=0)
    assert_foreign_weights_are_refused(model, tmp_path / "other.safetensors")


def save_as_pickle(model, snapshot):
    """As the older repositories hold it: pytorch_model.bin, weight norm under the names it had before torch 2.1."""
    names = {"parametrizations.weight.original0": "weight_g", "parametrizations.weight.original1": "weight_v"}
    state = {}
    for key, tensor in model.state_dict().items():
        for new, old in names.items():
            key = key.replace(new, old)
        state[key] = tensor
    assert any(key.endswith("pos_conv_embed.conv.weight_g") for key in state)
    model.config.architectures = [type(model).__name__]
    model.config.save_pretrained(snapshot)
    torch.save(state, snapshot / "pytorch_model.bin")


@pytest.fixture(scope="module")
def hub(tmp_path_factory):
    """What the detectors take from a hub that is there, and what they say of one that is not; never a network."""
    torch.manual_seed(0)
    home, output = tmp_path_factory.mktemp("home"), tmp_path_factory.mktemp("output")
    no_safetensors = ("model.safetensors", "model.safetensors.index.json")
    # As published: the model of pretraining with its quantizer, masks and layer drop on.
    quantizer = {"codevector_dim": 8, "proj_codevector_dim": 8, "num_codevectors_per_group": 4}
    pretraining = transformers.Wav2Vec2ForPreTraining(transformers.Wav2Vec2Config(**SMALL_SPEECH, **quantizer))
    save_as_pickle(pretraining, snapshot_folder(home, "facebook/wav2vec2-base", no_safetensors))
    speech = transformers.WavLMModel(transformers.WavLMConfig(**SMALL_SPEECH))
    save_as_pickle(speech, snapshot_folder(home, "microsoft/wavlm-base-plus", no_safetensors))
    audioset = transformers.ASTForAudioClassification(transformers.ASTConfig(**SMALL_AST, num_labels=5))
    audioset.to(torch.float16).save_pretrained(snapshot_folder(home, "MIT/ast-finetuned-audioset-10-10-0.4593"))
    states, messages = ask_the_hub("audio", PUBLISHED_BACKBONES, home, output)
    backbones = {
        "wav2vec2": pretraining.wav2vec2.state_dict(),
        "wavlm": speech.state_dict(),
        "ast": audioset.audio_spectrogram_transformer.state_dict(),
    }
    return SimpleNamespace(backbones=backbones, states=states, messages=messages, output=output)


@pytest.mark.parametrize("name", PUBLISHED_BACKBONES)
def test_pretrained_takes_the_hubs_backbone_as_float32(hub, name):
    published = {key: tensor.float() for key, tensor in hub.backbones[name].items() if key != "masked_spec_embed"}
    assert_same_tensors(part_of(hub.states[name], "backbone."), published)


@pytest.mark.parametrize("name", PUBLISHED_BACKBONES)
def test_a_pretrained_detector_comes_back_through_the_files_own_load_model(hub, name, small_configs):
    fresh = get_model("audio", name, pretrained=False)
    loaded = load_model_of(fresh)(str(hub.output / name), num_classes=2)
    assert_same_tensors(loaded.state_dict(), hub.states[name])


@pytest.mark.parametrize("name", PUBLISHED_BACKBONES)
def test_an_unreachable_hub_is_named_with_the_ways_around_it(hub, name):
    assert_names_the_ways_around(hub.messages[name], name)
