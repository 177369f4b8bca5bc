//! What others keep: metrics, and an audit event for each model.

use std::{fs, os::unix::fs::symlink};

use serde_json::Value;

use crate::{Volume, codes, outcome, root_digest};

#[test]
fn metrics_are_replaced_as_a_whole() {
    let volume = Volume::new();
    let file = volume.path("weightseal.prom");
    let args = ["--metrics-file", file.to_str().unwrap(), "--model-id", "a\"b\\c\nd"];
    let line = outcome(volume.run(&args), 0);
    let text = fs::read_to_string(&file).unwrap();
    let labels = format!("{{model=\"{}\",id=\"a\\\\\\\"b", volume.model().display());
    for start in [
        format!("weightseal_verified{labels}"),
        format!("weightseal_bytes{labels}"),
        "weightseal_seconds ".to_owned(),
        "weightseal_exit_code 0".to_owned(),
        "weightseal_last_check_timestamp_seconds ".to_owned(),
    ] {
        assert_eq!(text.lines().filter(|line| line.starts_with(&start)).count(), 1, "{start}: {text}");
    }
    assert!(text.contains(&format!(" {}\n", line.models[0].bytes)) && text.ends_with('\n'), "{text}");
    assert!(text.lines().all(|line| line.starts_with("# ") || line.starts_with("weightseal_")), "{text}");
    volume.change("README.md", 1);
    outcome(volume.run(&args), 1);
    let text = fs::read_to_string(&file).unwrap();
    assert!(text.contains("weightseal_exit_code 1\n"), "{text}");
    assert_eq!(text.matches("\nweightseal_exit_code ").count(), 1);
    // Nothing else is replaced, and that changes no verdict.
    fs::write(&file, "precious").unwrap();
    outcome(volume.run(&args), 1);
    assert_eq!(fs::read_to_string(&file).unwrap(), "precious");
}

#[test]
fn each_model_is_an_event_that_is_appended() {
    let volume = Volume::new();
    let log = volume.path("audit.jsonl");
    fs::write(&log, "{\"earlier\":true}\n").unwrap();
    let args = ["--audit-log", log.to_str().unwrap(), "--model-id", "acme/llama"];
    outcome(volume.run(&args), 0);
    volume.change("README.md", 1);
    outcome(volume.run(&args), 1);
    let text = fs::read_to_string(&log).unwrap();
    let events: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let [earlier, good, bad] = &events[..] else { panic!("{text}") };
    assert_eq!(earlier["earlier"], true);
    assert_eq!((good["verdict"].as_str(), bad["verdict"].as_str()), (Some("verified"), Some("rejected")));
    assert_eq!(
        (&good["model_id"], &bad["codes"]),
        (&"acme/llama".into(), &serde_json::json!(["file-changed"]))
    );
    assert_eq!(good["root_digest"], root_digest(&volume.model().join("model.sig")));
    assert_eq!(good["signers"][0]["kind"], "key");
    assert!(good["time"].as_str().unwrap().ends_with('Z') && good["admitted"] == true);
}

#[test]
fn an_event_that_cannot_be_written_is_no_success() {
    let volume = Volume::new();
    let target = volume.path("target");
    fs::write(&target, "").unwrap();
    symlink(&target, volume.path("link")).unwrap();
    for log in ["/dev/full", "/no/such/folder", volume.path("link").to_str().unwrap()] {
        assert_eq!(codes(volume.run(&["--audit-log", log]), 3), ["io-failed"], "{log}");
        assert!(volume.message().starts_with("could-not-tell: io-failed: "), "{}", volume.message());
    }
    assert_eq!(fs::read_to_string(&target).unwrap(), "");
}
