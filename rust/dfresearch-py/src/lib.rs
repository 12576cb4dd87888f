//! Python binding.

