use weightseal::{Code, Counts, REPORT_VERSION, SignatureReport};

use super::*;

const HOSTILE: &str = "a\n::error::x\r\u{1b}[31m\u{202e}%0A\"\\";

fn report(mode: Mode, findings: &[Finding]) -> Arc<Report> {
    Arc::new(plain(mode, findings))
}

fn plain(mode: Mode, findings: &[Finding]) -> Report {
    let mut report = Report::new("/models/cache/llama", None, mode);
    report.findings.extend_from_slice(findings);
    report.conclude();
    report
}

fn of(code: Code) -> Finding {
    Finding::new(code, "something is wrong")
}

#[test]
fn the_worst_model_decides_and_one_that_may_not_pass_stops_all() {
    let exit = |mode, codes: &[Option<Code>], general: Option<Code>| {
        let reports =
            codes.iter().map(|code| report(mode, &code.map(of).into_iter().collect::<Vec<_>>())).collect();
        let outcome = Outcome::new(mode, reports, general.map(of), 0.0);
        assert_eq!(outcome.admitted(), outcome.exit_code() == 0);
        outcome.exit_code()
    };
    use Code::{DeadlinePassed, FileChanged, Interrupted, IoFailed, ModelAbsent};
    let (enforce, warn) = (Mode::Enforce, Mode::Warn);
    for (codes, general, enforced, warned) in [
        (&[None, None][..], None, 0, 0),
        (&[None, Some(FileChanged)], None, 1, 0),
        (&[Some(IoFailed), None], None, 3, 0),
        (&[Some(IoFailed), Some(FileChanged)], None, 1, 0),
        (&[Some(FileChanged), Some(ModelAbsent), None], None, 2, 2),
        (&[None, Some(DeadlinePassed)], None, 3, 3),
        (&[Some(FileChanged), Some(DeadlinePassed)], None, 1, 1),
        (&[None], Some(Interrupted), 3, 3),
        (&[], Some(ModelAbsent), 2, 2),
        (&[], Some(IoFailed), 3, 3),
        (&[], None, 3, 3),
    ] {
        assert_eq!(
            (exit(enforce, codes, general), exit(warn, codes, general)),
            (enforced, warned),
            "{codes:?} {general:?}"
        );
    }
}

#[test]
fn nothing_is_said_of_success_and_the_first_line_says_which_and_why() {
    let message = |mode, findings: &[Finding]| {
        Outcome::new(mode, vec![report(mode, &[]), report(mode, findings)], None, 0.0).message()
    };
    assert_eq!(message(Mode::Enforce, &[]), "");
    let changed = of(Code::FileChanged).about("model.safetensors");
    // The finding that decides, not the first one.
    let both = [of(Code::IoFailed).about("other"), changed];
    let line = "rejected: \"/models/cache/llama\": file-changed: \"model.safetensors\"\n";
    assert!(message(Mode::Enforce, &both).starts_with(line), "{}", message(Mode::Enforce, &both));
    assert!(message(Mode::Warn, &both).starts_with(&format!("admitted (warn mode): {line}")));
    let misuse = Outcome::new(Mode::Enforce, Vec::new(), Some(of(Code::TrustMissing)), 0.0).message();
    assert!(
        misuse.starts_with("misuse: trust-missing: something is wrong\n") && misuse.contains("help: "),
        "{misuse}"
    );
}

#[test]
fn however_long_and_hostile_the_names_the_message_is_whole_within_its_bounds() {
    for name in [
        HOSTILE.repeat(400),
        "é\u{202e}".repeat(1000),
        "::".repeat(2000),
        "\u{1f600}".repeat(1024),
        String::new(),
    ] {
        let mut worst = plain(Mode::Warn, &[]);
        worst.model.clone_from(&name);
        let what = format!("the file {:?} is not as signed", Shown(&name));
        worst.findings =
            vec![
                Finding::new(Code::CertificateCriticalExtension, what).about(&*name).differs(&name, &name);
                500
            ];
        worst.conclude();
        let message = Outcome::new(Mode::Warn, vec![Arc::new(worst)], None, 0.0).message();
        assert!(message.len() <= MESSAGE_BYTES, "{}", message.len());
        let head = message.lines().next().unwrap();
        assert!(head.chars().count() <= 200 && head.contains("certificate-critical-extension"), "{head}");
        assert!(
            !message.contains("::")
                && message.chars().all(|c| c == '\n' || !c.is_control() && c != '\u{202e}'),
            "{message:?}"
        );
    }
}

#[test]
fn names_are_shown_by_their_ends() {
    assert_eq!(end_of("model.bin", 20), "\"model.bin\"");
    assert_eq!(end_of("/models/cache/llama", 10), "\"…e/llama\"");
    assert_eq!(end_of("a\nb", 5), "\"…b\"");
    assert_eq!(cut("éé", 4), "éé");
    assert_eq!(cut("ééé", 5), "é…");
}

#[test]
fn the_line_is_ascii_and_bounded() {
    let long = HOSTILE.repeat(100);
    let mut finding = of(Code::FileChanged).about(&*long).differs(&long, &long);
    finding.what.clone_from(&long);
    finding.tensors = vec![long.clone(); 30];
    finding.bundle = Some(long.clone());
    let mut worst = plain(Mode::Enforce, &vec![finding; 1000]);
    worst.model.clone_from(&long);
    let identity = Identity::Certificate {
        subject: long.clone(),
        names: vec![long.clone(); 30],
        issuer: long.clone(),
        serial: long.clone(),
        fingerprint: String::new(),
    };
    let signature = SignatureReport {
        bundle: Some(long.clone()),
        accepted: false,
        signing_method: None,
        identity: Some(identity),
        time: None,
        logged: Vec::new(),
        trusted_root: None,
        root_digest: None,
        serialization: None,
        hash_algorithm: None,
        name: Some(long.clone()),
        version: Some(long.clone()),
        notes: vec![long; 30],
    };
    let sigstore = Identity::Sigstore {
        identity: signature.notes[0].clone(),
        issuer: signature.notes[0].clone(),
        claims: (0..15).map(|n| (format!("claim-{n}"), "x".repeat(60_000))).collect(),
        serial: String::new(),
        fingerprint: String::new(),
    };
    worst.signatures = vec![signature; 30];
    for signature in worst.signatures.iter_mut().step_by(2) {
        signature.identity = Some(sigstore.clone());
    }
    let line = Outcome::new(Mode::Enforce, vec![Arc::new(worst)], None, 0.0).line();
    assert!(line.len() < 5 << 20, "{}", line.len());
    assert!(line.ends_with('\n') && line.trim_end_matches('\n').bytes().all(|b| (b' '..=b'~').contains(&b)));
    let value: serde_json::Value = serde_json::from_str(&line).unwrap();
    let model = &value["models"][0];
    assert_eq!(
        (model["findings"].as_array().map(Vec::len), model["more_findings"].as_u64()),
        (Some(100), Some(900))
    );
    assert_eq!(
        (model["version"].as_u64(), model["counts"]["signed"].as_u64()),
        (Some(REPORT_VERSION.into()), Some(Counts::default().signed))
    );
}

#[test]
fn a_link_or_a_folder_in_the_place_of_the_termination_log_is_left_alone() {
    let folder = testkit::temporary().unwrap();
    let (target, link, log) =
        (folder.path().join("target"), folder.path().join("link"), folder.path().join("log"));
    std::fs::write(&target, "as it was").unwrap();
    std::os::unix::fs::symlink(&target, &link).unwrap();
    for path in [&link, &folder.path().to_owned()] {
        assert!(open_log(&Termination::Told(path.clone())).is_none());
    }
    assert_eq!(std::fs::read(&target).unwrap(), b"as it was");
    assert!(open_log(&Termination::Off).is_none());
    assert!(open_log(&Termination::Told(log.clone())).is_some() && log.is_file());
}
