//! A Hub of Hugging Face with a model.

use testkit::hub::{Example, serve_example};

use super::{Result, Service};

/// Starts one.
pub(super) fn start() -> Result<Box<dyn Service>> {
    Ok(Box::new(serve_example()?))
}

impl Service for Example {}
