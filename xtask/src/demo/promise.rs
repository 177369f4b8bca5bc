//! A command of the demo: shown before it runs, held to the exit code and the words it promises.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use serde_json::Value;
use testkit::{run, workspace};

use super::shown;
use super::tamper::Target;
use crate::Done;

/// A program of this workspace.
pub(super) struct Program(PathBuf);

impl Program {
    pub(super) fn new(folder: &Path, name: &str) -> Program {
        Program(folder.join(name))
    }

    /// A command of it, under a title that says what it is for.
    pub(super) fn step(&self, title: &str) -> Step {
        let mut command = Command::new(shown(&self.0));
        command.current_dir(workspace());
        Step { title: title.to_owned(), command }
    }
}

/// A command that is being put together.
pub(super) struct Step {
    title: String,
    command: Command,
}

impl Step {
    pub(super) fn arg(mut self, arg: &str) -> Step {
        self.command.arg(arg);
        self
    }

    pub(super) fn path(mut self, path: &Path) -> Step {
        self.command.arg(shown(path));
        self
    }

    pub(super) fn flag(self, name: &str, path: &Path) -> Step {
        self.arg(name).path(path)
    }

    /// Shows and runs the command, and returns its standard output if it ends with this code.
    ///
    /// Standard error is the user's own, so that a long run shows its progress.
    pub(super) fn ends_with(mut self, code: i32) -> Done<String> {
        println!("\n# {}\n$ {}", self.title, run::command_line(&self.command));
        let start = Instant::now();
        let ended = self.command.stdin(Stdio::null()).stderr(Stdio::inherit()).output()?;
        std::io::stdout().write_all(&ended.stdout)?;
        let took = start.elapsed().as_secs_f64();
        if ended.status.code() != Some(code) {
            return Err(
                format!("the last command ended with {}, not with exit code {code}", ended.status).into()
            );
        }
        println!("  exit code {code}, as promised ({took:.2} s)");
        Ok(String::from_utf8_lossy(&ended.stdout).into_owned())
    }
}

/// Demands that the init container wrote one line of JSON.
pub(super) fn outcome(stdout: &str) -> Done {
    let line = stdout.trim_end_matches('\n');
    match serde_json::from_str(line) {
        Ok(Value::Object(_)) if !line.contains('\n') => Ok(()),
        _ => Err("the init container did not write its outcome as one line of JSON".into()),
    }
}

/// The report of a model that was refused.
pub(super) struct Rejection(Value);

impl Rejection {
    pub(super) fn read(path: &Path) -> Done<Rejection> {
        let text =
            fs::read(path).map_err(|error| format!("there is no report in {}: {error}", path.display()))?;
        Ok(Rejection(serde_json::from_slice(&text)?))
    }

    /// Demands that it names the file, the shard and the tensor of the changed byte, and nothing else.
    pub(super) fn names(&self, target: &Target, shard: u64) -> Done<String> {
        let verdict = self.0.get("verdict").and_then(Value::as_str);
        if verdict != Some("rejected") {
            return Err(format!("the report's verdict is {verdict:?}, not rejected").into());
        }
        let findings =
            self.0.get("findings").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        let [finding] = findings else {
            return Err(format!("the report has {} findings for one changed byte", findings.len()).into());
        };
        let file = target.file_name();
        let name = finding.get("name").and_then(Value::as_str);
        if name != Some(&file) {
            return Err(format!("the finding names {name:?}, not {file:?}").into());
        }
        let start = target.offset() / shard * shard;
        let expected = (Some(start), Some(start.saturating_add(shard).min(target.file_bytes())));
        let bound =
            |which: &str| finding.get("range").and_then(|range| range.get(which)).and_then(Value::as_u64);
        let range = (bound("start"), bound("end"));
        if range != expected {
            return Err(format!("the finding's range is {range:?}, not {expected:?}").into());
        }
        let bytes = format!("bytes {start} to {} of {file}", expected.1.unwrap_or(start));
        let Some(tensor) = target.tensor() else { return Ok(bytes) };
        let tensors = finding.get("tensors").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        if !tensors.iter().any(|named| named.as_str() == Some(tensor)) {
            return Err(format!("the finding's tensors are {tensors:?}, without {tensor}").into());
        }
        Ok(format!("{bytes}, and the tensor {tensor}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const SHARD: u64 = 100;

    fn rejection(finding: Value) -> Rejection {
        Rejection(json!({ "verdict": "rejected", "findings": [finding] }))
    }

    fn good() -> Value {
        json!({ "code": "content-changed", "name": "sub/m.safetensors", "range": { "start": 200, "end": 250 },
                "tensors": ["before", "wte"] })
    }

    fn target() -> Target {
        Target::new("sub/m.safetensors", 250, 249, Some("wte"))
    }

    #[test]
    fn a_report_that_names_all_three_is_as_promised() {
        let named = rejection(good()).names(&target(), SHARD).expect("as promised");
        assert_eq!(named, "bytes 200 to 250 of sub/m.safetensors, and the tensor wte");
    }

    #[test]
    fn a_report_that_names_less_or_something_else_is_not() {
        let mutations: [fn(&mut Value); 7] = [
            |finding| finding["name"] = json!("m.safetensors"),
            |finding| finding["range"]["start"] = json!(100),
            |finding| finding["range"]["end"] = json!(300),
            |finding| finding["range"] = Value::Null,
            |finding| finding["tensors"] = json!(["before"]),
            |finding| finding["tensors"] = Value::Null,
            |finding| *finding = Value::Null,
        ];
        for mutate in mutations {
            let mut finding = good();
            mutate(&mut finding);
            assert!(rejection(finding.clone()).names(&target(), SHARD).is_err(), "{finding}");
        }
        let two = Rejection(json!({ "verdict": "rejected", "findings": [good(), good()] }));
        assert!(two.names(&target(), SHARD).is_err());
        let verified = Rejection(json!({ "verdict": "verified", "findings": [good()] }));
        assert!(verified.names(&target(), SHARD).is_err());
    }

    #[test]
    fn an_outcome_is_one_line_of_json() {
        assert!(outcome("{\"verdict\":\"verified\"}\n").is_ok());
        for bad in ["", "verified\n", "{}\n{}\n", "[]\n", "{\n}\n"] {
            assert!(outcome(bad).is_err(), "{bad:?}");
        }
    }
}
