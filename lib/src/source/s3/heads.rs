//! What the store says of files without their bytes, many at once.

use std::sync::Arc;

use aws_sdk_s3::{
    operation::head_object::HeadObjectOutput,
    types::{ChecksumMode, ChecksumType},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use tokio::task::JoinSet;

use super::{Store, read::Wanted, trouble::Trouble};
use crate::{Digest, Error, code::Code, shown::Shown};

/// So many questions are under way at once.
const AT_ONCE: usize = 32;

/// Asks about one key, whatever stands there.
pub(super) async fn head(
    store: &Store,
    key: &str,
    tag: Option<&str>,
) -> Result<Result<HeadObjectOutput, Trouble>, Error> {
    let customer = store.options.customer_key.as_ref();
    store
        .call(|clients| {
            clients
                .calls
                .head_object()
                .bucket(&store.bucket)
                .key(key)
                .set_if_match(tag.map(str::to_owned))
                .checksum_mode(ChecksumMode::Enabled)
                .set_sse_customer_algorithm(customer.map(|_| "AES256".to_owned()))
                .set_sse_customer_key(customer.map(|key| key.base64()))
                .set_sse_customer_key_md5(customer.map(|key| key.md5_base64()))
                .send()
        })
        .await
}

/// Asks about a listed file, which must still be what was listed.
async fn listed(store: &Store, wanted: &Wanted) -> Result<HeadObjectOutput, Error> {
    let changed = |how: &str| {
        Error::new(Code::ChangedWhileRead, format!("{:?} {how}", Shown(&wanted.name))).with_name(&wanted.name)
    };
    let answer = match head(store, &wanted.key, Some(&wanted.tag)).await? {
        Ok(answer) => answer,
        Err(trouble) if trouble.is_another() => return Err(changed("changed while it was read")),
        Err(trouble) if trouble.is_absent() => return Err(changed("is gone")),
        Err(trouble) => return Err(store.failed(&wanted.key, &trouble).with_name(&wanted.name)),
    };
    let size = answer.content_length().and_then(|length| u64::try_from(length).ok());
    if answer.e_tag() != Some(&*wanted.tag) || size != Some(wanted.size) {
        return Err(changed("changed while it was read"));
    }
    Ok(answer)
}

/// Asks about each file, and gives what `take` makes of the answers, in the order of the files.
pub(super) async fn each<T: Send + Default + 'static>(
    store: Arc<Store>,
    files: Vec<Wanted>,
    take: fn(&Store, &Wanted, &HeadObjectOutput) -> T,
) -> Result<Vec<T>, Error> {
    let mut answers: Vec<T> = files.iter().map(|_| T::default()).collect();
    let mut files = files.into_iter().enumerate();
    let mut under_way = JoinSet::new();
    loop {
        while under_way.len() < AT_ONCE
            && let Some((index, file)) = files.next()
        {
            let store = Arc::clone(&store);
            under_way.spawn(async move {
                let answer = listed(&store, &file).await?;
                Ok::<_, Error>((index, take(&store, &file, &answer)))
            });
        }
        let Some(done) = under_way.join_next().await else { return Ok(answers) };
        let (index, answer) =
            done.map_err(|_| Error::new(Code::Panicked, "a question to the store failed"))??;
        if let Some(place) = answers.get_mut(index) {
            *place = answer;
        }
    }
}

/// The SHA-256 of the whole file, where the store has it: one over parts is none.
pub(super) fn digest(answer: &HeadObjectOutput) -> Option<Digest> {
    match answer.checksum_type() {
        None | Some(ChecksumType::FullObject) => {}
        Some(_) => return None,
    }
    // One over parts has their number behind it, and no base64 has a hyphen.
    let raw = STANDARD.decode(answer.checksum_sha256()?).ok()?;
    Some(Digest::sha256(raw.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_checksum_of_the_whole_file_counts() {
        let sum = STANDARD.encode([7; 32]);
        let stated = |sum: Option<&str>, kind: Option<ChecksumType>| {
            let answer = HeadObjectOutput::builder()
                .set_checksum_sha256(sum.map(str::to_owned))
                .set_checksum_type(kind)
                .build();
            digest(&answer)
        };
        let whole = Some(Digest::sha256([7; 32]));
        assert_eq!(stated(Some(&sum), Some(ChecksumType::FullObject)), whole);
        assert_eq!(stated(Some(&sum), None), whole);
        assert_eq!(stated(Some(&sum), Some(ChecksumType::Composite)), None);
        assert_eq!(stated(Some(&sum), Some(ChecksumType::from("NEW"))), None);
        assert_eq!(stated(Some(&format!("{sum}-2")), None), None);
        assert_eq!(stated(Some(&STANDARD.encode([7; 31])), None), None);
        assert_eq!(stated(None, Some(ChecksumType::FullObject)), None);
    }
}
