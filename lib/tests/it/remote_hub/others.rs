//! Beside the Hub's own client, and behind a mirror.

use testkit::{
    hub::{client, olah},
    or_skip, temporary,
};
use weightseal::Local;

use super::*;
use crate::good::write_files;

#[test]
fn what_the_hubs_own_client_uploads_and_keeps_is_read_and_found() {
    let Some(client) = or_skip(client()) else { return };
    let dir = temporary().unwrap();
    let (folder, cache) = (dir.path().join("model"), dir.path().join("hub"));
    write_files(&folder, model().iter().map(|(name, bytes)| (name.as_str(), bytes.as_slice())));
    let hub = Double::start();
    client.upload_folder(hub.url(), &folder, ID).unwrap().expect_code(0);
    let opened = opened(&hub);
    for (name, bytes) in model() {
        assert_eq!(fetch(&opened, &name).unwrap(), bytes, "{name}");
    }
    client.snapshot_cache(hub.url(), ID, "main", &cache).unwrap().expect_code(0);
    for offline in [false, true] {
        let options = options(&hub).cache(&cache).offline(offline);
        // Of `no_cache` and `cache` the former counts.
        assert_eq!(Hub::cached(&uri("hf://acme/llama"), &options, &Run::new()).unwrap(), None);
        let options = HubOptions::new().endpoint(hub.url()).no_token().allow_http(true).cache(&cache);
        let found =
            Hub::cached(&uri("hf://acme/llama"), &options.offline(offline), &Run::new()).unwrap().unwrap();
        assert_eq!(found.file_name().unwrap().to_str(), Some(opened.commit()));
        let files = list(&Local::open(&found).unwrap(), &Run::new()).unwrap();
        let files = files.iter().filter(|entry| entry.kind == Kind::File).count();
        assert_eq!(
            files,
            list(&opened, &Run::new()).unwrap().iter().filter(|entry| entry.kind == Kind::File).count()
        );
    }
}

#[test]
fn a_mirror_serves_what_the_hub_has() {
    let hub = double(&model());
    let Some(mirror) = or_skip(olah(&hub)) else { return };
    let options = options(&hub).no_token().endpoint(mirror.url());
    let opened = Hub::open(&uri("hf://acme/llama"), &options, &Run::new()).unwrap();
    for (name, bytes) in model() {
        assert_eq!(fetch(&opened, &name).unwrap(), bytes, "{name}");
    }
    // It tells the names of the commit's files and nothing more.
    let one = Hub::open(&uri("hf://acme/llama/more/weights.bin"), &options, &Run::new()).unwrap();
    contract(&one, &BTreeMap::from([("weights.bin".to_owned(), model()["more/weights.bin"].clone())]));
    // It sends to the Hub itself for the next page, which is not the one that was asked.
    hub.page_size(2);
    hub.commit(RepoType::Model, ID, "main", &[("another", b"commit, whose listing the mirror has not kept")]);
    let opened = Hub::open(&uri("hf://acme/llama"), &options, &Run::new()).unwrap();
    assert!(fails(list(&opened, &Run::new()), Code::ListingInvalid).contains("another server"));
}
