//! A client for Python's simple package index (PEP 503), for machines without pip.

use std::env;
use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;
use std::time::Duration;

use testkit::digest::sha256_file;
use ureq::Agent;
use ureq::tls::{RootCerts, TlsConfig};

use crate::Done;

/// Where packages are looked for unless `PIP_INDEX_URL` says otherwise.
const PYPI: &str = "https://pypi.org/simple";

/// The longest page of a project that is read, in bytes.
const MAX_PAGE: u64 = 16 << 20;
/// The longest file that is fetched, in bytes.
const MAX_FILE: u64 = 512 << 20;

/// A package index.
pub(super) struct Index {
    url: String,
    agent: Agent,
}

/// A file that a project's page links to.
#[derive(Debug, PartialEq, Eq)]
struct Link {
    url: String,
    sha256: String,
}

impl Index {
    /// The index that the environment names, through the proxy that it names.
    pub(super) fn from_env() -> Done<Index> {
        let url = match env::var("PIP_INDEX_URL") {
            Ok(url) if !url.trim().is_empty() => url.trim().to_owned(),
            _ => PYPI.to_owned(),
        };
        Ok(Index::new(&url, true))
    }

    fn new(url: &str, proxy: bool) -> Index {
        // The machine's own certificates, which a company's proxy is among, and not a list of this program's.
        let tls = TlsConfig::builder().root_certs(RootCerts::PlatformVerifier).build();
        let config = Agent::config_builder()
            .tls_config(tls)
            .timeout_connect(Some(Duration::from_secs(10)))
            .timeout_recv_response(Some(Duration::from_secs(30)))
            .timeout_global(Some(Duration::from_secs(600)));
        let config = if proxy { config } else { config.proxy(None) };
        Index { url: url.trim_end_matches('/').to_owned(), agent: config.build().into() }
    }

    /// Fetches a file of a project to `to`, which is there whole and with the digest that the index states, or not at
    /// all.
    pub(super) fn fetch(&self, project: &str, file: &str, to: &Path) -> Done {
        let fetched = self.fetch_from(project, file, to);
        // An error may quote the URL, whose name and password are nobody's business.
        Ok(fetched.map_err(|error| error.to_string().replace(&self.url, &self.to_string()))?)
    }

    fn fetch_from(&self, project: &str, file: &str, to: &Path) -> Done {
        let page_url = format!("{}/{project}/", self.url);
        let mut answer = self.agent.get(&page_url).header("Accept", "text/html").call()?;
        let page = answer.body_mut().with_config().limit(MAX_PAGE).read_to_string()?;
        let link =
            link_to(&page, file, &page_url).ok_or("it has no such file, or states no SHA-256 for it")?;

        let part = to.with_extension("part");
        let fetched = self.save(&link, &part);
        if fetched.is_err() {
            // The error at hand says more than one about a file that may never have been made.
            let _ = fs::remove_file(&part);
        }
        fetched?;
        Ok(fs::rename(&part, to)?)
    }

    fn save(&self, link: &Link, part: &Path) -> Done {
        let body = self.agent.get(&link.url).call()?.into_body();
        let mut reader = body.into_with_config().limit(MAX_FILE).reader();
        let mut file = File::create(part)?;
        io::copy(&mut reader.by_ref().take(MAX_FILE), &mut file)?;
        file.sync_all()?;
        let found = sha256_file(part)?;
        if found != link.sha256 {
            return Err(format!("what it sent has SHA-256 {found}, and it states {}", link.sha256).into());
        }
        Ok(())
    }
}

impl fmt::Display for Index {
    /// The index without a name and password that its URL may hold.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (scheme, rest) = self.url.split_once("://").unwrap_or(("https", &self.url));
        let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
        let host = host.rsplit_once('@').map_or(host, |(_, host)| host);
        write!(f, "{scheme}://{host}/{}", path.split(['?', '#']).next().unwrap_or_default())
    }
}

/// The link of a page whose text is the file's name and which states a SHA-256.
fn link_to(page: &str, file: &str, page_url: &str) -> Option<Link> {
    page.split("<a").skip(1).find_map(|anchor| {
        let (tag, rest) = anchor.split_once('>')?;
        let text = rest.split('<').next()?;
        let (_, href) = tag.split_once("href=")?;
        let quote = href.chars().next().filter(|c| matches!(c, '"' | '\''))?;
        let href = href.get(1..)?.split(quote).next()?.replace("&amp;", "&");
        let (href, fragment) = href.split_once('#')?;
        let sha256 = fragment.strip_prefix("sha256=")?.to_ascii_lowercase();
        (text.trim() == file).then(|| Link { url: absolute(href, page_url), sha256 })
    })
}

/// A link against the page it stands on.
fn absolute(href: &str, page_url: &str) -> String {
    if href.contains("://") {
        return href.to_owned();
    }
    let (scheme, rest) = page_url.split_once("://").unwrap_or(("https", page_url));
    if let Some(host) = href.strip_prefix("//") {
        return format!("{scheme}://{host}");
    }
    let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
    if href.starts_with('/') {
        return format!("{scheme}://{host}{href}");
    }
    let mut parts: Vec<&str> = path.split('/').collect();
    // The last part is the page itself; a URL that ends in a slash has an empty one.
    parts.pop();
    for part in href.split('/') {
        match part {
            "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    format!("{scheme}://{host}/{}", parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{BufRead, BufReader, Write};
    use std::net::TcpListener;
    use std::thread;
    use testkit::temporary;

    const FILE: &str = "demo-1.0-py3-none-any.whl";
    /// SHA-256 of "abc".
    const ABC: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    /// Serves these answers in turn on a port of this machine, each to a request that holds these words.
    fn serve(answers: Vec<(&'static str, String)>) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("its number");
        thread::spawn(move || {
            for (wanted, body) in answers {
                let (mut stream, _) = listener.accept().expect("a client");
                let lines = BufReader::new(stream.try_clone().expect("a second handle")).lines();
                let head = lines.map(|line| line.expect("readable")).take_while(|line| !line.is_empty());
                let request = head.collect::<Vec<_>>().join("\n");
                let status = if request.contains(wanted) { "200 OK" } else { "404 Not Found" };
                let head = format!(
                    "HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
                    body.len()
                );
                stream.write_all((head + &body).as_bytes()).expect("sent");
            }
        });
        format!("http://{address}/root/simple/")
    }

    fn page(href: &str) -> String {
        format!(
            "<!DOCTYPE html><html><body><a href=\"other.tar.gz#sha256=00\">demo-1.0.tar.gz</a>\n\
             <a data-requires-python=\"&gt;=3.8\" href=\"{href}\">{FILE}</a></body></html>"
        )
    }

    fn fetched(href: &str, requests: &'static str, body: &str) -> (Done, bool) {
        let dir = temporary().expect("temporary folder");
        let url = serve(vec![("/root/simple/demo/", page(href)), (requests, body.to_owned())]);
        let to = dir.path().join(FILE);
        let done = Index::new(&url, false).fetch("demo", FILE, &to);
        let left = fs::read_dir(dir.path()).expect("readable").count();
        assert_eq!(left, usize::from(to.is_file()), "nothing but the file may be left");
        (done, to.is_file())
    }

    #[test]
    fn a_file_with_the_stated_digest_is_kept() {
        let (done, kept) =
            fetched(&format!("../../files/{FILE}#sha256={ABC}"), "/root/files/demo-1.0", "abc");
        done.expect("fetched");
        assert!(kept);
    }

    #[test]
    fn another_file_than_stated_is_not_kept() {
        let (done, kept) = fetched(&format!("/files/{FILE}#sha256={ABC}"), "/files/demo-1.0", "abd");
        assert!(done.expect_err("refused").to_string().starts_with("what it sent has SHA-256"));
        assert!(!kept);
    }

    #[test]
    fn a_link_without_a_digest_is_no_link() {
        for href in [FILE.to_owned(), format!("{FILE}#md5={ABC}"), format!("{FILE}#")] {
            assert_eq!(link_to(&page(&href), FILE, "https://host/simple/demo/"), None, "{href}");
        }
    }

    #[test]
    fn an_index_that_lacks_the_file_says_so() {
        let dir = temporary().expect("temporary folder");
        let url = serve(vec![("/root/simple/demo/", page("x#sha256=00"))]);
        let error =
            Index::new(&url, false).fetch("demo", "other.whl", &dir.path().join("x")).expect_err("lacks it");
        assert_eq!(error.to_string(), "it has no such file, or states no SHA-256 for it");
    }

    #[test]
    fn a_name_and_password_in_the_url_are_sent_and_not_told() {
        let dir = temporary().expect("temporary folder");
        // base64 of "user:secret"
        let url = serve(vec![
            ("Basic dXNlcjpzZWNyZXQ=", page(&format!("/f#sha256={ABC}"))),
            ("/f", "abc".to_owned()),
        ]);
        let url = url.replace("http://", "http://user:secret@");
        Index::new(&url, false).fetch("demo", FILE, &dir.path().join(FILE)).expect("fetched");
        let error = Index::new("http://user:secret@ /", false).fetch("demo", FILE, &dir.path().join(FILE));
        let error = error.expect_err("no such host").to_string();
        assert!(!error.contains("secret"), "{error}");
    }

    #[test]
    fn links_are_read_as_a_browser_reads_them() {
        let page = "https://host:8080/root/simple/demo/";
        for (href, url) in [
            ("https://files.example/a.whl", "https://files.example/a.whl"),
            ("//files.example/a.whl", "https://files.example/a.whl"),
            ("/files/a.whl", "https://host:8080/files/a.whl"),
            ("a.whl", "https://host:8080/root/simple/demo/a.whl"),
            ("./a.whl", "https://host:8080/root/simple/demo/a.whl"),
            ("../../files/a.whl", "https://host:8080/root/files/a.whl"),
        ] {
            assert_eq!(absolute(href, page), url);
        }
    }

    #[test]
    fn a_password_in_the_url_is_not_shown() {
        let index = Index::new("https://user:secret@host:8080/simple/?token=secret", false);
        assert_eq!(index.to_string(), "https://host:8080/simple/");
        assert_eq!(Index::new("https://pypi.org/simple", false).to_string(), "https://pypi.org/simple");
    }
}
