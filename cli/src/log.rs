//! The log: notes, warnings and, on request, more; on standard error, around the progress bar.

use std::{env, fmt, io};

use tracing::{
    Event, Level as Severity, Subscriber,
    field::{Field, Visit},
    level_filters::LevelFilter,
};
use tracing_subscriber::{
    filter::filter_fn,
    fmt::{FmtContext, FormatEvent, FormatFields, MakeWriter, format::Writer},
    layer::SubscriberExt as _,
    registry::LookupSpan,
};
use weightseal::{Code, Error, Shown};

use crate::{args::Global, bar};

/// How much is logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Level(LevelFilter);

impl Level {
    /// A level by its name, in any case; the names are those of the reference and of Rust.
    pub(crate) fn parse(name: &str) -> Result<Self, String> {
        Ok(Level(match name.to_ascii_lowercase().as_str() {
            "trace" => LevelFilter::TRACE,
            "debug" => LevelFilter::DEBUG,
            "info" => LevelFilter::INFO,
            "warn" | "warning" => LevelFilter::WARN,
            "error" => LevelFilter::ERROR,
            "critical" | "off" => LevelFilter::OFF,
            _ => return Err("none of trace, debug, info, warning, error and critical".to_owned()),
        }))
    }

    /// The level that flags and environment come to: `--log-level`, `-q` or `-v`, `WEIGHTSEAL_LOG`,
    /// `MODEL_SIGNING_LOG_LEVEL`, in this order.
    ///
    /// # Errors
    /// `bad-argument` when a variable holds no level.
    pub(crate) fn of(global: &Global) -> Result<Self, Error> {
        if let Some(level) = global.log_level {
            return Ok(level);
        }
        match (global.quiet, global.verbose) {
            (true, _) => return Ok(Level(LevelFilter::ERROR)),
            (false, 0) => {}
            (false, 1) => return Ok(Level(LevelFilter::DEBUG)),
            (false, _) => return Ok(Level(LevelFilter::TRACE)),
        }
        for variable in ["WEIGHTSEAL_LOG", "MODEL_SIGNING_LOG_LEVEL"] {
            if let Some(value) = env::var_os(variable).filter(|value| !value.is_empty()) {
                let value = value.to_string_lossy();
                return Level::parse(&value).map_err(|why| {
                    Error::new(Code::BadArgument, format!("{variable} is {:?}, {why}", Shown(&value)))
                        .with_help("correct the variable, or unset it")
                });
            }
        }
        Ok(Level(LevelFilter::INFO))
    }

    /// Starts logging.
    pub(crate) fn start(self) {
        let log = tracing_subscriber::fmt().with_max_level(self.0).event_format(Plain).with_writer(Beside);
        // Nothing of what other crates log: some of them log requests, with keys in their headers.
        let log =
            log.finish().with(filter_fn(|event| event.target().split("::").next() == Some("weightseal")));
        // It only fails where somebody logs already.
        let _ = tracing::subscriber::set_global_default(log);
    }
}

/// One line for each event: how grave it is, and what.
struct Plain;

impl<S, N> FormatEvent<S, N> for Plain
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, _: &FmtContext<'_, S, N>, mut out: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        out.write_str(match *event.metadata().level() {
            Severity::ERROR => "error: ",
            Severity::WARN => "warning: ",
            Severity::INFO => "note: ",
            Severity::DEBUG => "debug: ",
            Severity::TRACE => "trace: ",
        })?;
        event.record(&mut Message(&mut out));
        out.write_char('\n')
    }
}

/// Writes the message of an event; names in it are escaped where it is made.
struct Message<'a, 'w>(&'a mut Writer<'w>);

impl Visit for Message<'_, '_> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        // Where a line cannot be made there is nobody to tell.
        let _ = match field.name() {
            "message" => write!(self.0, "{value:?}"),
            name => write!(self.0, " {name}={value:?}"),
        };
    }
}

/// Standard error, with the bar out of the way.
struct Beside;

impl MakeWriter<'_> for Beside {
    type Writer = Beside;

    fn make_writer(&self) -> Beside {
        Beside
    }
}

impl io::Write for Beside {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        bar::say(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_have_the_names_of_both_worlds_in_any_case() {
        for (name, level) in [
            ("DEBUG", LevelFilter::DEBUG),
            ("Info", LevelFilter::INFO),
            ("WARNING", LevelFilter::WARN),
            ("warn", LevelFilter::WARN),
            ("ERROR", LevelFilter::ERROR),
            ("critical", LevelFilter::OFF),
            ("trace", LevelFilter::TRACE),
        ] {
            assert_eq!(Level::parse(name), Ok(Level(level)), "{name}");
        }
        assert!(Level::parse("loud").is_err() && Level::parse("").is_err());
    }
}
