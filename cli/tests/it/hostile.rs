//! Names from outside, in every form of output: none ends its line, colours a terminal, turns text around, or commands.

use std::{ffi::OsStr, fs, os::unix::ffi::OsStrExt as _};

use crate::{json::Report, world::World};

/// What a name may do to whoever prints it.
const NAMES: [&str; 9] = [
    "line\n::error title=forged::verified: m",
    "return\r::warning::x",
    "escape\u{1b}[2J\u{1b}[31m",
    "::error file=a,title=b::c",
    "%0A::error::x%0D,y",
    "bidi\u{202e}txt.exe\u{2066}",
    "quote\"'`$(id)`|a|b|<img src=x>[l](http:e)",
    "##[error]x",
    "verified: m",
];

/// Whether text could do harm on a terminal or in a log.
fn harmless(text: &str, commands: &[&str]) -> bool {
    !text.contains("##[")
        && text.lines().all(|line| {
            let command = line.trim_start();
            !command.starts_with("::") || commands.iter().any(|allowed| command.starts_with(allowed))
        })
        && !text.chars().any(|c| {
            (c.is_control() && c != '\n')
                || ('\u{202a}'..='\u{202e}').contains(&c)
                || ('\u{2066}'..='\u{2069}').contains(&c)
        })
}

fn model() -> World {
    let world = World::new();
    world.sign();
    for name in NAMES {
        fs::write(world.path("m").join(name), "x").unwrap();
    }
    fs::write(world.path("m").join(OsStr::from_bytes(b"not utf-8 \xff\n::error::x")), "x").unwrap();
    world
}

#[test]
fn names_of_files_are_escaped_in_text_json_annotations_and_summary() {
    let world = model();
    let verify = ["verify", "m", "--public-key", "release.pub", "-v"];
    let text = world.run(&verify).expect_code(1);
    assert!(harmless(&text.out(), &[]) && harmless(&text.err(), &[]), "{text}");
    assert_eq!(text.out().lines().filter(|line| line.starts_with("verified")).count(), 0, "{text}");
    assert!(text.out().contains("line\\n:\\u{3a}error title=forged"), "{text}");

    let json = world.run(&[&verify[..], &["--format", "json"]].concat()).expect_code(1);
    assert!(json.out().is_ascii() && json.out().lines().count() == 1, "{json}");
    let report: Report = serde_json::from_str(&json.out()).unwrap();
    for name in NAMES {
        assert!(
            report.findings.iter().any(|finding| finding.name.as_deref() == Some(name)),
            "{name:?}: {json}"
        );
    }
    assert!(report.findings.iter().all(|finding| harmless(&finding.message, &[])), "{json}");

    let github = world
        .shell(
            "GITHUB_ACTIONS=true GITHUB_STEP_SUMMARY=summary.md weightseal verify m --public-key release.pub",
        )
        .expect_code(1);
    assert!(harmless(&github.out(), &["::error file=m/"]), "{github}");
    let annotations: Vec<String> =
        github.out().lines().filter(|line| line.starts_with("::")).map(str::to_owned).collect();
    assert_eq!(annotations.len(), report.findings.len(), "{github}");
    for line in &annotations {
        // Two properties and a message, whatever the name has in it.
        let (properties, message) = line.strip_prefix("::error ").unwrap().split_once("::").unwrap();
        assert_eq!(properties.split(',').count(), 2, "{line}");
        assert!(!message.contains("::") && !line.contains("%0A") && !line.contains("%0D"), "{line}");
    }
    let summary = fs::read_to_string(world.path("summary.md")).unwrap();
    assert!(harmless(&summary, &[]), "{summary}");
    let rows: Vec<&str> = summary.lines().filter(|line| line.starts_with("| file-")).collect();
    assert_eq!(rows.len(), report.findings.len(), "{summary}");
    for row in rows {
        assert_eq!(row.matches('|').count(), 4, "{row}");
        assert!(!row.contains(['`', '<', '[', '$', '"', '\\']), "{row}");
    }
}

#[test]
fn what_is_typed_and_what_a_signature_says_is_escaped_as_well() {
    let world = World::new();
    let name = NAMES[0].to_owned() + NAMES[2] + NAMES[5];
    fs::rename(world.path("m"), world.path(&name)).unwrap();
    let signed = world.run(&["sign", &name, "--private-key", "release.key", "--name", &name]).expect_code(0);
    assert!(harmless(&signed.out(), &[]) && harmless(&signed.err(), &[]), "{signed}");

    // The line that sign prints is for a shell, and does what it says.
    let line = signed.out().lines().last().unwrap().trim().to_owned();
    let again = world.command("bash").arg("-c").arg(&line).output().unwrap();
    assert!(again.status.success() && again.stdout.starts_with(b"verified: "), "{line}\n{again:?}");
    assert!(harmless(&String::from_utf8(again.stdout).unwrap(), &[]));

    for args in [
        &["inspect", &name][..],
        &["digest", &name, "--files"],
        &["verify", &name, "--public-key", "release.pub", "--name", "other"],
        &["verify", &name, "--public-key", &name],
        &["verify", &name, "--public-key", "release.pub", "--report", &name],
        &["verify", &name, "--public-key", "release.pub", "--signature", &name],
        &["verify", "m", &name],
        &["verify", "none\n::error::x", "--github", "on"],
        &["verify", &name, "--at", &name],
        &["--log-level", &name, "verify"],
        &["sign", &name, "--private-key", &name],
        &["sign", &name, "--private-key", "release.key", "--ignore-paths", &name, "--signature", &name],
        &[&name],
        &["keygen", &name, "--type", &name],
    ] {
        let ended = world.run(args);
        let allowed = ["::error title=weightseal"];
        assert!(harmless(&ended.out(), &allowed) && harmless(&ended.err(), &allowed), "{args:?}\n{ended:?}");
        let json = world.run(&[args, &["--format", "json"]].concat());
        assert!(harmless(&json.out(), &[]) && harmless(&json.err(), &allowed), "{args:?}\n{json:?}");
    }
}

#[test]
fn a_variable_with_a_hostile_value_is_escaped() {
    let world = World::new();
    let ended = world.shell("WEIGHTSEAL_LOG=\"$(printf 'a\\n::error::x\\033[31m')\" weightseal verify m");
    assert!(ended.code() == Some(2) && harmless(&ended.err(), &[]), "{ended}");
}
