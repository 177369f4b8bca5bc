use super::*;

fn config(args: &[&str]) -> Config {
    let args: Vec<_> =
        ["x", "--model=/a", "--model=/b", "--public-key=/k"].iter().chain(args).map(Into::into).collect();
    Config::read(Task::Check, &args, &[]).unwrap()
}

fn verified(target: &Target) -> Arc<Report> {
    let mut report = Report::new(target.name(), None, Mode::Enforce);
    report.conclude();
    Arc::new(report)
}

/// Supervises a job; `signals` have come before it ends.
fn supervised(
    config: &Config,
    signals: &[i32],
    job: impl FnOnce(&Reports) + Send + 'static,
) -> (u8, Vec<String>) {
    let (tell, events) = mpsc::channel();
    for signal in signals {
        tell.send(Event::Signal(*signal)).unwrap();
    }
    let cancel = Cancel::default();
    let outcome = supervise(config, &Progress::default(), &cancel, (tell, events), job);
    assert_eq!(cancel.is_cancelled(), !signals.is_empty());
    let line: serde_json::Value = serde_json::from_str(&outcome.line()).unwrap();
    let codes = |findings: &serde_json::Value| {
        let codes =
            findings.as_array().unwrap().iter().map(|finding| finding["code"].as_str().unwrap().to_owned());
        codes.collect::<Vec<_>>().join(" ")
    };
    let models = line["models"].as_array().unwrap().iter().map(|model| codes(&model["findings"]));
    (outcome.exit_code(), std::iter::once(codes(&line["findings"])).chain(models).collect())
}

fn report_all(config: &Config) -> impl FnOnce(&Reports) + Send + 'static {
    let targets = config.targets.clone();
    move |reports| lock(reports).reports.extend(targets.iter().map(verified))
}

fn hang() {
    loop {
        thread::park();
    }
}

#[test]
fn a_job_that_reports_every_model_is_believed() {
    let config = config(&[]);
    assert_eq!(supervised(&config, &[], report_all(&config)), (0, vec![String::new(); 3]));
}

#[test]
fn a_job_that_ends_early_or_panics_is_no_success_not_even_in_warn_mode() {
    for config in [config(&[]), config(&["--mode=warn"])] {
        let first = config.targets[0].clone();
        let ended = supervised(&config, &[], |_| {});
        assert_eq!(ended, (3, vec![String::new(), "panicked".into(), "panicked".into()]));
        let panicked = supervised(&config, &[], move |reports| {
            lock(reports).reports.push(verified(&first));
            panic!("as told");
        });
        assert_eq!(panicked, (3, vec!["panicked".into(), String::new(), "panicked".into()]));
        // Also when it panics after its last report, or with a lock in its hands.
        let all = report_all(&config);
        let (code, found) = supervised(&config, &[], move |reports| {
            all(reports);
            let _held = lock(reports);
            panic!("as told");
        });
        assert_eq!((code, found[0].as_str()), (3, "panicked"));
    }
}

#[test]
fn a_job_that_does_not_end_is_left_behind() {
    for mode in ["--mode=enforce", "--mode=warn"] {
        let late = supervised(&config(&[mode, "--deadline=1ms"]), &[], |_| hang());
        assert_eq!(late, (3, vec!["deadline-passed".into(); 3]));
        for signal in [SIGTERM, SIGINT] {
            let ended = supervised(&config(&[mode, "--deadline=none"]), &[signal, signal], |_| hang());
            assert_eq!(ended, (3, vec!["interrupted".into(); 3]));
        }
    }
}

#[test]
fn after_a_signal_nothing_passes() {
    let config = config(&[]);
    let (code, found) = supervised(&config, &[SIGTERM], report_all(&config));
    assert_eq!((code, found), (3, vec!["interrupted".to_owned(), String::new(), String::new()]));
}

#[test]
fn what_comes_below_a_folder_after_its_models_were_found_is_no_success() {
    let dir = testkit::temporary().unwrap();
    let path = |name: &str| dir.path().join(name);
    let add = |name: &str| {
        std::fs::create_dir_all(path(name)).unwrap();
        std::fs::write(path(name).join("model.sig"), name).unwrap();
    };
    add("models/a/one");
    let args = ["x".into(), "--public-key=/k".into(), "--models-under".into(), path("models").into()];
    let config = Config::read(Task::Check, &args, &[]).unwrap();
    let target = config.targets[0].clone();
    let trust = Err(Error::new(Code::TrustMissing, "not asked for"));
    let look = |found| below(&config, &target, found, &trust, &Run::new());
    let find = || match look(None) {
        Below::Models(models, found) => (models.len(), found),
        _ => panic!("no models were found"),
    };
    let codes = |below| match below {
        Below::Nothing => String::new(),
        Below::Report(report) => {
            report.findings.iter().map(|finding| finding.code.name()).collect::<Vec<_>>().join(" ")
        }
        Below::Models(..) => panic!("they were found before"),
    };
    let (models, found) = find();
    assert_eq!((models, codes(look(Some(found)))), (1, String::new()));

    let (_, found) = find();
    add("models/a/two");
    assert_eq!(codes(look(Some(found))), "changed-while-read");
    let (models, found) = find();
    assert_eq!(models, 2);
    std::fs::write(path("models/a/x.py"), "x").unwrap();
    assert_eq!(codes(look(Some(found))), "file-unsigned changed-while-read");
    let (_, found) = find();
    std::fs::remove_file(path("models/a/x.py")).unwrap();
    assert_eq!(codes(look(Some(found))), "changed-while-read");
    // Another folder of the same name.
    let (_, found) = find();
    std::fs::rename(path("models/a/two"), path("aside")).unwrap();
    add("models/a/two");
    assert_eq!(codes(look(Some(found))), "changed-while-read");
    let (_, found) = find();
    std::fs::remove_dir_all(path("models")).unwrap();
    assert_eq!(codes(look(Some(found))), "model-absent");
}

#[test]
fn what_was_verified_first_is_looked_at_again_at_the_end() {
    let dir = testkit::temporary().unwrap();
    let path = |name: &str| dir.path().join(name);
    for name in ["a", "b"] {
        std::fs::create_dir(path(name)).unwrap();
        std::fs::write(path(name).join("config.json"), name).unwrap();
    }
    let model = |name: &str| format!("--model={}", path(name).display());
    let args = ["x".into(), "--public-key=/k".into(), model("a").into(), model("b").into()];
    let config = Config::read(Task::Check, &args, &[]).unwrap();
    let targets = config.targets.clone();
    let look = || {
        let mut looks = Looks::default();
        targets.iter().for_each(|target| looks.add(again::look(&config, target, &Run::new()).unwrap()));
        looks
    };
    let reports: Vec<_> = targets.iter().map(verified).collect();
    let again = |looks: &Looks, reports: &[Arc<Report>]| {
        let changed = looks.again(&config, &targets, reports, &Run::new());
        changed
            .into_iter()
            .map(|(at, report)| (at, report.findings[0].code, report.exit_code()))
            .collect::<Vec<_>>()
    };
    assert_eq!(again(&look(), &reports), []);
    let changes: [&dyn Fn(); 3] = [
        &|| std::fs::write(path("a/modeling.py"), "x").unwrap(),
        &|| std::fs::write(path("a/config.json"), "b").unwrap(),
        &|| std::fs::remove_file(path("a/modeling.py")).unwrap(),
    ];
    for change in changes {
        let before = look();
        // Longer than any clock tick that stamps files.
        thread::sleep(Duration::from_millis(25));
        change();
        assert_eq!(again(&before, &reports), [(0, Code::ChangedWhileRead, 3)]);
    }
    // The model's own rule judges, and what was not verified has said so already.
    let mut warned = Report::clone(&reports[0]);
    warned.mode = Mode::Warn;
    let before = look();
    std::fs::remove_dir_all(path("a")).unwrap();
    assert_eq!(again(&before, &reports), [(0, Code::ChangedWhileRead, 3)]);
    std::fs::create_dir(path("a")).unwrap();
    std::fs::write(path("a/config.json"), "a").unwrap();
    assert_eq!(
        again(&before, &[Arc::new(warned), Arc::clone(&reports[1])]),
        [(0, Code::ChangedWhileRead, 0)]
    );
    let mut refused = Report::clone(&reports[0]);
    refused.findings.push(Finding::new(Code::FileChanged, "x"));
    refused.conclude();
    assert_eq!(again(&before, &[Arc::new(refused), Arc::clone(&reports[1])]), []);
}

#[test]
fn a_memory_limit_below_the_models_size_is_told() {
    let read = |bytes: &[u64]| -> Vec<Arc<Report>> {
        bytes
            .iter()
            .map(|bytes| Arc::new(Report { bytes: *bytes, ..Report::new("", None, Mode::Enforce) }))
            .collect()
    };
    let models = read(&[3 << 30, 2 << 30]);
    assert_eq!((too_large(&models, None), too_large(&models, Some(5 << 30))), (None, None));
    let note = too_large(&models, Some(4 << 30)).unwrap();
    assert!(note.starts_with("5.4 GB were read, and the memory limit is 4.3 GB"), "{note}");
}
