//! What may be said of a call: never a token, never the query of a URL.

use crate::shown::Shown;
pub(crate) use crate::words::{cause, guarded};

use reqwest::Url;

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

/// The text without this secret, wherever it stands in it.
pub(super) fn without_secret(text: &str, secret: Option<&str>) -> String {
    match secret {
        Some(secret) if !secret.is_empty() => text.replace(secret, "[token]"),
        _ => text.to_owned(),
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
}
