//! A Hub to try things on by hand.

use std::fmt;
use std::io;

use super::{Hub, Kind, Visibility};
use crate::models;

/// A Hub with a model, and what to type.
#[derive(Debug)]
pub struct Example {
    /// It runs until this is dropped.
    pub hub: Hub,
    /// Lines to print.
    pub lines: Vec<String>,
}

impl fmt::Display for Example {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.lines.join("\n"))
    }
}

/// Starts a Hub that has the small model of [`models::small`] as `acme/llama`.
///
/// # Errors
/// The temporary folder cannot be written.
///
/// # Panics
/// There is no free port.
pub fn serve_example() -> io::Result<Example> {
    let folder = crate::temporary()?;
    models::small(folder.path())?;
    let hub = Hub::start();
    hub.create(Kind::Model, "acme/llama", Visibility::Public);
    // Held in memory, so that the folder may go.
    let mut files = Vec::new();
    super::below(folder.path(), "", &mut files);
    let read = |(name, path): &(String, std::path::PathBuf)| Ok((name.clone(), std::fs::read(path)?));
    let files = files.iter().map(read).collect::<io::Result<Vec<_>>>()?;
    let files: Vec<(&str, &[u8])> =
        files.iter().map(|(name, content)| (name.as_str(), content.as_slice())).collect();
    let commit = hub.commit(Kind::Model, "acme/llama", "main", &files);
    let lines = vec![
        format!("export HF_ENDPOINT={} HF_TOKEN={}", hub.url(), hub.token()),
        format!("# acme/llama at {commit}; large files come from {}", hub.cdn_url()),
        "weightseal keygen release".to_owned(),
        "weightseal sign hf://acme/llama --allow-http --private-key release.key --upload".to_owned(),
        "weightseal verify hf://acme/llama --allow-http --public-key release.pub".to_owned(),
    ];
    Ok(Example { hub, lines })
}
