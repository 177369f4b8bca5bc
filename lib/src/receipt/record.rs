//! The receipt as a file: a line of JSON, and a line with the code that authenticates it.

use serde::{Deserialize, Serialize};

/// The version of the format.
const VERSION: u32 = 1;

/// What a receipt says. Small whatever the model: what has to be as it was is held as digests.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Record {
    version: u32,
    /// When the model was hashed.
    pub(super) at: Moment,
    /// How many files were.
    pub(super) files: u64,
    /// How many of them the kernel has measured.
    pub(super) measured: u64,
    /// What has to be as it was.
    pub(super) bound: Bound,
}

/// A moment, told in ways that do not depend on one another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Moment {
    /// Which boot of which machine. A crash may keep bytes and lose the times that tell of them.
    boot: String,
    /// By the clock that files are stamped with, in nanoseconds since 1970.
    clock: u64,
    /// Since the machine was started, in nanoseconds: nobody sets that.
    running: u64,
}

/// What has to be as it was, each as a digest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Bound {
    /// What the caller has given as context.
    pub(super) context: Sum,
    /// The model's path and id.
    pub(super) model: Sum,
    /// The policy file and the rule.
    pub(super) policy: Sum,
    /// The bundles, and the statements in them that were accepted.
    pub(super) signatures: Sum,
    /// The file system, wherever it is mounted.
    pub(super) file_system: Sum,
    /// Each file's name, place and stamps, and those of its link.
    pub(super) files: Sum,
    /// What the kernel measured of each.
    pub(super) measurements: Sum,
}

/// A digest in hex.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct Sum(String);

impl Sum {
    /// The digest over what a closure puts in.
    pub(super) fn over(put: impl FnOnce(&mut Parts)) -> Sum {
        let mut parts = Parts(blake3::Hasher::new());
        put(&mut parts);
        Sum(parts.0.finalize().to_hex().to_string())
    }
}

/// Things that are hashed one after the other, so that no two sequences of them are the same bytes.
pub(super) struct Parts(blake3::Hasher);

impl Parts {
    /// Bytes, or text.
    pub(super) fn bytes(&mut self, bytes: impl AsRef<[u8]>) {
        let bytes = bytes.as_ref();
        self.0.update(&(bytes.len() as u64).to_le_bytes()).update(bytes);
    }

    /// A number.
    pub(super) fn number(&mut self, number: impl Into<i128>) {
        self.0.update(&number.into().to_le_bytes());
    }

    /// Something that may be absent.
    pub(super) fn maybe<T>(&mut self, value: Option<T>, put: impl FnOnce(&mut Parts, T)) {
        self.number(u8::from(value.is_some()));
        if let Some(value) = value {
            put(self, value);
        }
    }
}

impl Moment {
    /// Now; none where the system does not tell.
    pub(super) fn now() -> Option<Moment> {
        let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
        let boot = boot.trim().to_owned();
        Some(Moment { clock: nanoseconds_of(Clock::Wall)?, running: nanoseconds_of(Clock::Running)?, boot })
            .filter(|now| !now.boot.is_empty())
    }

    /// Which boot of which machine it belongs to.
    pub(super) fn boot(&self) -> &str {
        &self.boot
    }

    /// In seconds since 1970.
    pub(super) fn unix(&self) -> i64 {
        i64::try_from(self.clock / 1_000_000_000).unwrap_or_default()
    }

    /// Whether what files' times told then they tell until `now`.
    ///
    /// # Errors
    /// Why not, in words.
    fn holds_until(&self, now: &Moment) -> Result<(), String> {
        if self.boot != now.boot {
            return Err("it was written before this machine was started, or on another one".to_owned());
        }
        let (Some(running), Some(clock)) =
            (now.running.checked_sub(self.running), now.clock.checked_sub(self.clock))
        else {
            return Err("it is of a time that has not come yet: the clock was set back".to_owned());
        };
        // A clock that is corrected slowly may lose a second in a thousand; one that lost more was set back, and gives times
        // that files had before.
        let may_lose = SECOND + running / 1000;
        if clock.saturating_add(may_lose) < running {
            return Err("the clock was set back since".to_owned());
        }
        Ok(())
    }
}

const SECOND: u64 = 1_000_000_000;

#[derive(Clone, Copy)]
enum Clock {
    Wall,
    Running,
}

#[cfg(target_os = "linux")]
fn nanoseconds_of(clock: Clock) -> Option<u64> {
    let clock = match clock {
        Clock::Wall => rustix::time::ClockId::Realtime,
        Clock::Running => rustix::time::ClockId::Boottime,
    };
    let time = rustix::time::clock_gettime(clock);
    u64::try_from(time.tv_sec).ok()?.checked_mul(SECOND)?.checked_add(u64::try_from(time.tv_nsec).ok()?)
}

#[cfg(not(target_os = "linux"))]
fn nanoseconds_of(_: Clock) -> Option<u64> {
    None
}

impl Record {
    /// A receipt on what was hashed by this moment.
    pub(super) fn new(at: Moment, files: u64, measured: u64, bound: Bound) -> Record {
        Record { version: VERSION, at, files, measured, bound }
    }

    /// The file: what it says, and the code over exactly those bytes.
    ///
    /// # Errors
    /// In words.
    pub(super) fn seal(&self, key: &[u8; 32]) -> Result<Vec<u8>, String> {
        let mut bytes = serde_json::to_vec(self).map_err(|error| error.to_string())?;
        let code = blake3::keyed_hash(key, &bytes);
        bytes.push(b'\n');
        bytes.extend(code.to_hex().as_bytes());
        bytes.push(b'\n');
        Ok(bytes)
    }

    /// Reads a file. Nothing of it is parsed before the code was found right.
    ///
    /// # Errors
    /// Why it does not count, in words.
    pub(super) fn open(bytes: &[u8], key: &[u8; 32]) -> Result<Record, String> {
        let not_ours = || "it is not authentic: changed, cut, or made with another key".to_owned();
        let lines = bytes.strip_suffix(b"\n").ok_or_else(not_ours)?;
        let end = lines.iter().rposition(|byte| *byte == b'\n').ok_or_else(not_ours)?;
        let (said, code) = lines.split_at(end);
        let code = code.get(1..).and_then(|hex| blake3::Hash::from_hex(hex).ok()).ok_or_else(not_ours)?;
        // This comparison takes as long wherever they differ.
        if blake3::keyed_hash(key, said) != code {
            return Err(not_ours());
        }
        let versioned: Versioned = serde_json::from_slice(said).map_err(|_| not_ours())?;
        if versioned.version != VERSION {
            return Err(format!("it is of version {}, not {VERSION}", versioned.version));
        }
        serde_json::from_slice(said).map_err(|_| not_ours())
    }

    /// Whether everything is as it was.
    ///
    /// # Errors
    /// What is not, in words.
    pub(super) fn holds(&self, bound: &Bound, now: &Moment) -> Result<(), String> {
        self.at.holds_until(now)?;
        let (then, now) = (&self.bound, bound);
        let compared = [
            (then.context == now.context, "the settings are not what they were"),
            (then.model == now.model, "it is of another model"),
            (then.policy == now.policy, "the policy or its rule is not what it was"),
            (then.signatures == now.signatures, "the signatures are not what they were"),
            (then.file_system == now.file_system, "the model lies on another file system"),
            (then.files == now.files, "a file, a link or its times are not what they were"),
            (then.measurements == now.measurements, "the kernel has measured a file otherwise"),
        ];
        if let Some((_, why)) = compared.into_iter().find(|(same, _)| !same) {
            return Err(why.to_owned());
        }
        // Whatever else may come to be bound.
        if then == now { Ok(()) } else { Err("something is not what it was".to_owned()) }
    }
}

/// The one field that every version has.
#[derive(Deserialize)]
struct Versioned {
    version: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: [u8; 32] = [7; 32];

    impl Moment {
        pub(crate) fn of_boot(boot: &str) -> Moment {
            Moment { boot: boot.to_owned(), clock: 2_000_000 * SECOND, running: 500 * SECOND }
        }
    }

    fn moment() -> Moment {
        Moment::of_boot("one")
    }

    fn later(seconds: u64) -> Moment {
        let then = moment();
        let more = seconds * SECOND;
        Moment { clock: then.clock + more, running: then.running + more, ..then }
    }

    fn sum(text: &str) -> Sum {
        Sum::over(|parts| parts.bytes(text))
    }

    fn record() -> Record {
        let bound = Bound {
            context: sum("context"),
            model: sum("model"),
            policy: sum("policy"),
            signatures: sum("signatures"),
            file_system: sum("file system"),
            files: sum("files"),
            measurements: sum("measurements"),
        };
        Record::new(moment(), 3, 1, bound)
    }

    #[test]
    fn what_was_sealed_opens_with_its_key_and_no_other() {
        let sealed = record().seal(&KEY).unwrap();
        assert!(sealed.len() < 1024, "{}", sealed.len());
        assert_eq!(Record::open(&sealed, &KEY).unwrap(), record());
        assert!(Record::open(&sealed, &[8; 32]).unwrap_err().contains("not authentic"));
    }

    #[test]
    fn a_byte_more_less_or_other_and_it_does_not_open() {
        let sealed = record().seal(&KEY).unwrap();
        for at in 0..sealed.len() {
            let mut other = sealed.clone();
            // Hex is read in capitals too, so that not every change of the code's own line is one; this is.
            other[at] ^= 1;
            assert!(Record::open(&other, &KEY).is_err(), "{at}");
            assert!(Record::open(&sealed[..at], &KEY).is_err(), "cut at {at}");
        }
        assert!(Record::open(&[&sealed[..], b"\n"].concat(), &KEY).is_err());
        assert!(Record::open(&[b" ", &sealed[..]].concat(), &KEY).is_err());
    }

    fn sealed(said: &str) -> Vec<u8> {
        format!("{said}\n{}\n", blake3::keyed_hash(&KEY, said.as_bytes()).to_hex()).into_bytes()
    }

    #[test]
    fn another_version_or_another_form_does_not_count_though_it_is_authentic() {
        let said = serde_json::to_string(&record()).unwrap();
        assert!(Record::open(&sealed(&said), &KEY).is_ok());
        let other = said.replacen("\"version\":1", "\"version\":2", 1);
        assert_eq!(Record::open(&sealed(&other), &KEY).unwrap_err(), "it is of version 2, not 1");
        let more = said.replacen("\"files\":3", "\"files\":3,\"extra\":0", 1);
        let less = said.replacen("\"files\":3,", "", 1);
        for wrong in [&*more, &*less, "", "{}", "null", "[]", "{\"version\":1}"] {
            assert!(Record::open(&sealed(wrong), &KEY).is_err(), "{wrong}");
        }
    }

    #[test]
    fn everything_that_is_bound_has_to_be_as_it_was() {
        let record = record();
        record.holds(&record.bound, &later(60)).unwrap();
        type Field = fn(&mut Bound) -> &mut Sum;
        let changes: [(Field, &str); 7] = [
            (|bound| &mut bound.context, "settings"),
            (|bound| &mut bound.model, "another model"),
            (|bound| &mut bound.policy, "policy"),
            (|bound| &mut bound.signatures, "signatures"),
            (|bound| &mut bound.file_system, "file system"),
            (|bound| &mut bound.files, "a file"),
            (|bound| &mut bound.measurements, "measured"),
        ];
        for (field, why) in changes {
            let mut bound = record.bound.clone();
            *field(&mut bound) = sum("other");
            assert!(record.holds(&bound, &later(60)).unwrap_err().contains(why));
        }
    }

    #[test]
    fn a_receipt_lives_no_longer_than_the_boot_and_not_past_a_clock_that_was_set_back() {
        let then = moment();
        let hour = later(3600);
        then.holds_until(&then).unwrap();
        then.holds_until(&hour).unwrap();
        // Forward it may be set.
        then.holds_until(&Moment { clock: hour.clock + 900 * SECOND, ..hour.clone() }).unwrap();
        // Slowly corrected, by a second in a thousand.
        then.holds_until(&Moment { clock: hour.clock - 4 * SECOND, ..hour.clone() }).unwrap();
        for wrong in [
            Moment { boot: "two".to_owned(), ..hour.clone() },
            Moment { clock: hour.clock - 5 * SECOND, ..hour.clone() },
            Moment { clock: then.clock - 1, ..hour.clone() },
            Moment { running: then.running - 1, ..hour },
        ] {
            assert!(then.holds_until(&wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn no_two_sequences_are_the_same_bytes() {
        let sums = [
            Sum::over(|parts| {
                parts.bytes("ab");
                parts.bytes("c");
            }),
            Sum::over(|parts| {
                parts.bytes("a");
                parts.bytes("bc");
            }),
            Sum::over(|parts| parts.bytes("abc")),
            Sum::over(|parts| parts.maybe(Some("abc"), Parts::bytes)),
            Sum::over(|parts| parts.maybe(None::<&str>, Parts::bytes)),
        ];
        for (at, one) in sums.iter().enumerate() {
            assert_eq!(sums.iter().position(|other| other == one), Some(at));
        }
    }
}
