//! The servers of the bench's rows on stores, in a program of their own: the bench stays as small as it is, and the
//! other tasks are built without a client of S3.
//!
//! Each line of its input is a question in JSON, each line of its output the answer. The servers end with it, and it
//! with its input.

#![forbid(unsafe_code)]
#![allow(clippy::print_stdout, reason = "printing is how it answers")]

use std::error::Error;
use std::io::{self, Write};
use std::path::Path;

use serde_json::{Value, json};
use testkit::Missing;
use testkit::hub::{Hub, Kind, Visibility};
use testkit::range_faults::{RangeFault, RangeFaultServer};
use testkit::s3::{self, Bucket, Store, sdk};

type Done<T = Value> = Result<T, Box<dyn Error>>;

fn main() -> Done<()> {
    let mut running = Running::default();
    for line in io::stdin().lines() {
        let answer = running.answer(&serde_json::from_str(&line?)?);
        let answer = answer.unwrap_or_else(|error| match error.downcast_ref::<Missing>() {
            Some(missing) => json!({ "missing": missing.to_string() }),
            None => json!({ "error": error.to_string() }),
        });
        println!("{answer}");
        io::stdout().flush()?;
    }
    Ok(())
}

/// What runs besides the stores, each of which there is one of.
#[derive(Default)]
struct Running {
    proxies: Vec<RangeFaultServer>,
    hub: Option<Hub>,
}

impl Running {
    fn answer(&mut self, question: &Value) -> Done {
        let text = |name: &str| {
            question.get(name).and_then(Value::as_str).ok_or_else(|| format!("{question} has no {name}"))
        };
        let store = || -> Done<&'static Store> {
            Ok(if text("store")? == "plain" { s3::plain_minio()? } else { s3::minio()? })
        };
        match text("ask")? {
            // A bucket that everybody may read: `curl` signs nothing.
            "bucket" => {
                let store = store()?;
                let bucket = store.bucket(Bucket { public: true, ..Bucket::default() });
                let (url, ca) = (store.url(), store.ca());
                Ok(json!({ "bucket": bucket, "url": url, "ca": ca, "environment": store.env() }))
            }
            "folder" => {
                store()?.put_folder(text("bucket")?, text("prefix")?, Path::new(text("folder")?));
                Ok(Value::Null)
            }
            "file" => {
                store()?.put(text("bucket")?, text("key")?, &std::fs::read(text("file")?)?);
                Ok(Value::Null)
            }
            // Within the store, so that nothing is read by us.
            "copy" => {
                let (store, bucket) = (store()?, text("bucket")?);
                let from = format!("{bucket}/{}", text("from")?);
                let call = store.client().copy_object().bucket(bucket).key(text("to")?).copy_source(from);
                let copied = store.wait(call.send());
                copied.map_err(|error| sdk::error::DisplayErrorContext(error).to_string())?;
                Ok(Value::Null)
            }
            "forget" => {
                let (store, bucket) = (store()?, text("bucket")?);
                store.keys(bucket, text("prefix")?).iter().for_each(|key| store.delete(bucket, key));
                Ok(Value::Null)
            }
            "throttle" => {
                let store = store()?;
                let bytes_per_second =
                    question.get("bytes_per_second").and_then(Value::as_u64).ok_or("no rate")?;
                let proxy = RangeFaultServer::start(RangeFault::Throttle { bytes_per_second }, store.url());
                let answer = json!({ "url": proxy.url(), "environment": store.env_at(proxy.url()) });
                self.proxies.push(proxy);
                Ok(answer)
            }
            "hub" => {
                let (id, hub) = (text("id")?, self.hub.insert(Hub::start()));
                hub.create(Kind::Model, id, Visibility::Public);
                hub.commit_folder(Kind::Model, id, "main", Path::new(text("folder")?));
                Ok(json!({ "url": hub.url() }))
            }
            // And counts from none again.
            "requests" => {
                let hub = self.hub.as_ref().ok_or("there is no Hub")?;
                let count: usize = hub.requests().values().sum();
                hub.forget();
                Ok(json!({ "count": count }))
            }
            other => Err(format!("nobody knows what {other} is").into()),
        }
    }
}
