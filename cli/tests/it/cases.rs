//! Invocations with their whole output, a file for each in `tests/cmd`.
//!
//! A line of such a file is
//!
//! - `# …`: why it is there;
//! - `% …`: a line of shell that has to succeed, and of which nothing is recorded;
//! - `$ …`: a line of shell that is recorded;
//! - `exit N`, `| …`, `! …`: its exit code, its standard output, its standard error.
//!
//! What differs from run to run has a placeholder. `WEIGHTSEAL_UPDATE=1 cargo test -p weightseal-cli` writes what comes now.

use std::{env, fmt::Write as _, fs, path::Path};

use crate::world::World;

#[test]
fn invocations_say_what_is_recorded() {
    let update = env::var_os("WEIGHTSEAL_UPDATE").is_some();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cmd");
    let mut wrong = Vec::new();
    let mut files: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(files.len() > 40, "only {} cases", files.len());
    for file in files {
        let recorded = fs::read_to_string(&file).unwrap();
        let actual = play(&recorded, &file);
        if recorded != actual {
            if update {
                fs::write(&file, &actual).unwrap();
            } else {
                wrong.push(format!("{}\n--- recorded\n{recorded}--- now\n{actual}", file.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}\n{} cases differ", wrong.join("\n"), wrong.len());
}

/// Runs a case; the text that would be recorded.
fn play(case: &str, file: &Path) -> String {
    let world = World::new();
    let mut out = String::new();
    for line in case.lines() {
        if let Some(command) = line.strip_prefix("% ") {
            let ended = world.shell(command);
            assert_eq!(ended.code(), Some(0), "{}: {ended}", file.display());
            out.push_str(line);
            out.push('\n');
        } else if let Some(command) = line.strip_prefix("$ ") {
            let ended = world.shell(command);
            let _ = writeln!(out, "{line}\nexit {}", ended.code().unwrap_or(-1));
            for (mark, text) in [("|", ended.out()), ("!", ended.err())] {
                for line in stable(&text, &world).lines() {
                    let _ = writeln!(out, "{}", format!("{mark} {line}").trim_end());
                }
            }
        } else if line.is_empty() || line.starts_with('#') {
            out.push_str(line);
            out.push('\n');
        }
    }
    out
}

/// Replaces what differs from run to run: the folder, times, rates, and control characters.
fn stable(text: &str, world: &World) -> String {
    let real = world.dir().canonicalize().unwrap();
    let mut text =
        text.replace(&*real.to_string_lossy(), "[DIR]").replace(&*world.dir().to_string_lossy(), "[DIR]");
    for (before, after, place) in [
        (" in ", " s (", "[T]"),
        (" in ", " s,", "[T]"),
        (" in ", " s &#40;", "[T]"),
        (" s, ", "/s", "[R]"),
        ("\"seconds\":", ",\"", "[T]"),
        ("\"kernel\":\"", "\"", "[K]"),
        ("hashing by ", ":", "[K]"),
        ("\"time\":{\"at\":\"", "\",\"by\":\"clock", "[NOW]"),
    ] {
        text = between(&text, before, after, place);
    }
    text.replace('\u{1b}', "[ESC]")
}

/// Replaces what stands between two texts, wherever it is a number, a rate, a time or a kernel's name.
fn between(text: &str, before: &str, after: &str, place: &str) -> String {
    let digits = |c: char| c.is_ascii_digit() || ".&#;".contains(c);
    let number = |text: &str| match text.split_once(' ') {
        Some((number, unit)) => number.chars().all(digits) && unit.ends_with('B'),
        None => {
            text.chars().all(|c| digits(c) || "-:TZe".contains(c))
                || text.parse::<weightseal::Kernel>().is_ok()
        }
    };
    let (mut done, mut rest) = (String::new(), text);
    while let Some((start, tail)) = rest.split_once(before) {
        let _ = write!(done, "{start}{before}");
        rest = match tail.split_once(after) {
            Some((value, end)) if number(value) => {
                let _ = write!(done, "{place}{after}");
                end
            }
            _ => tail,
        };
    }
    done + rest
}
