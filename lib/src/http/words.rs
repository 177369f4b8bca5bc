//! What may be said of a call: never a token, never the query of a URL.

use std::error::Error as StdError;

use reqwest::Url;

use crate::shown::Shown;

/// At most this many characters of a server's reason are told.
const REASON_CHARS: usize = 300;

/// A URL without user, password, query and fragment, safe to show.
pub(crate) fn url_shown(url: &str) -> String {
    let bare = match Url::parse(url) {
        Ok(mut url) => {
            url.set_query(None);
            url.set_fragment(None);
            // A URL that can have neither has none.
            let _ = url.set_username("");
            let _ = url.set_password(None);
            url.to_string()
        }
        Err(_) => url.split(['?', '#']).next().unwrap_or_default().to_owned(),
    };
    Shown(&bare).to_string()
}

/// Why something failed, down to what the system said: every cause that says more than the one above it.
pub(crate) fn cause(error: &(dyn StdError + 'static)) -> String {
    let mut parts: Vec<String> = Vec::new();
    let mut next = Some(error);
    while let Some(error) = next {
        let text = error.to_string();
        // Rust appends the number to what the system said.
        let text = text.split(" (os error").next().unwrap_or_default().trim();
        if !text.is_empty() && !parts.iter().any(|part| part.contains(text)) {
            parts.push(text.to_owned());
        }
        next = error.source();
    }
    // That a request was to be sent and failed is known.
    parts.retain(|part| {
        !matches!(
            part.as_str(),
            "error sending request" | "client error (Connect)" | "client error (SendRequest)"
        )
    });
    guarded(&parts.join(": "))
}

/// Words of somebody else, bounded and safe to show: tokens and the queries of URLs are left out.
pub(crate) fn guarded(text: &str) -> String {
    let mut out = String::new();
    for word in text.split_inclusive(char::is_whitespace) {
        let spaces = word.len() - word.trim_end().len();
        let (word, space) = word.split_at(word.len() - spaces);
        out.push_str(&without_query(&without_token(word)));
        out.push_str(space);
    }
    let text = out.trim();
    match text.char_indices().nth(REASON_CHARS) {
        Some((cut, _)) => format!("{}…", Shown(&text[..cut])),
        None => Shown(text).to_string(),
    }
}

/// The text without this secret, wherever it stands in it.
pub(super) fn without_secret(text: &str, secret: Option<&str>) -> String {
    match secret {
        Some(secret) if !secret.is_empty() => text.replace(secret, "[token]"),
        _ => text.to_owned(),
    }
}

/// The word without what looks like a JSON Web Token: every one begins with `{"` in base64.
fn without_token(word: &str) -> String {
    let mut out = String::new();
    let mut rest = word;
    while let Some(at) = rest.find("eyJ") {
        let (before, token) = rest.split_at(at);
        let end = token
            .find(|c: char| !c.is_ascii_alphanumeric() && !matches!(c, '.' | '_' | '-' | '=' | '+' | '/'))
            .unwrap_or(token.len());
        out.push_str(before);
        out.push_str("[token]");
        rest = &token[end..];
    }
    out.push_str(rest);
    out
}

fn without_query(word: &str) -> String {
    let Some(begin) = word.find("://") else { return word.to_owned() };
    let word = &without_user(word, begin + "://".len());
    match word[begin..].find('?') {
        Some(query) => {
            let (before, query) = word.split_at(begin + query);
            let end = query.find(['"', '\'', ')', '>', ',']).unwrap_or(query.len());
            format!("{before}{}", &query[end..])
        }
        None => word.to_owned(),
    }
}

/// The word without the user and password of a URL, whose host begins here.
fn without_user(word: &str, begin: usize) -> String {
    let (before, rest) = word.split_at(begin);
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    match rest[..end].rfind('@') {
        Some(user) => format!("{before}{}", &rest[user + 1..]),
        None => word.to_owned(),
    }
}

/// The reason that a server gave in the body of an answer; none where there are no words for people in it.
pub(super) fn reason(body: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(body).ok()?.trim();
    if text.is_empty() || text.starts_with('<') {
        return None;
    }
    let from_json = serde_json::from_str::<serde_json::Value>(text).ok().and_then(|value| {
        ["message", "error_description", "error"]
            .iter()
            .find_map(|field| value.get(field)?.as_str().map(ToOwned::to_owned))
    });
    Some(guarded(from_json.as_deref().unwrap_or(text)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_shown_without_what_may_be_secret() {
        assert_eq!(url_shown("https://me:pw@host.example/a?token=x#y"), "https://host.example/a");
        assert_eq!(url_shown("not a url?token=x"), "not a url");
    }

    #[test]
    fn tokens_and_queries_are_left_out_of_the_words_of_others() {
        let text =
            "bad \"eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJ4In0.c2ln\" at (https://h.example/t?code=1), line\n2";
        assert_eq!(guarded(text), "bad \\\"[token]\\\" at (https://h.example/t), line\\n2");
        assert_eq!(guarded("by http://me:p@w@h.example:1/a@b?c"), "by http://h.example:1/a@b");
        assert!(guarded(&"x".repeat(1000)).chars().count() <= REASON_CHARS + 1);
    }

    #[test]
    fn the_reason_is_the_message_and_never_a_page() {
        assert_eq!(reason(br#"{"code":3,"message":"no such issuer"}"#).unwrap(), "no such issuer");
        assert_eq!(
            reason(br#"{"error":"invalid_grant","error_description":"code is old"}"#).unwrap(),
            "code is old"
        );
        assert_eq!(reason(b"plain words").unwrap(), "plain words");
        assert_eq!(reason(b"<html>502</html>"), None);
        assert_eq!(reason(b"\xff\xfe"), None);
    }

    #[test]
    fn a_cause_is_told_down_to_the_system() {
        #[derive(Debug)]
        struct Top(std::io::Error);
        impl std::fmt::Display for Top {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("tcp connect error")
            }
        }
        impl StdError for Top {
            fn source(&self) -> Option<&(dyn StdError + 'static)> {
                Some(&self.0)
            }
        }
        let told = cause(&Top(std::io::Error::from_raw_os_error(111)));
        assert_eq!(told, "tcp connect error: Connection refused");
    }
}
