//! Decides which web pages may connect. With each connection a browser sends the origin of the page
//! that asked for it. A browser lets every page connect to every server that it can reach, also to
//! servers on the user's own machine and network. Clients other than browsers send no origin.

use crate::config::ConfigError;
use std::collections::BTreeSet;

/// The origins (RFC 6454) of the pages that may connect.
#[derive(Clone, Debug)]
pub(crate) enum Origins {
    Listed(BTreeSet<String>),
    Any,
}

impl Default for Origins {
    fn default() -> Self {
        Self::Listed(BTreeSet::new())
    }
}

impl Origins {
    pub(crate) fn with(self, origin: &str) -> Result<Self, ConfigError> {
        let origin = check(origin)?;
        Ok(match self {
            Self::Listed(mut listed) => {
                listed.insert(origin);
                Self::Listed(listed)
            }
            Self::Any => Self::Any,
        })
    }

    /// Whether a client may connect whose request names these origins. A request without an origin
    /// does not come from a web page.
    pub(crate) fn allow<'a>(&self, named: impl IntoIterator<Item = &'a [u8]>) -> bool {
        match self {
            Self::Any => true,
            Self::Listed(listed) => named.into_iter().all(|origin| {
                std::str::from_utf8(origin).is_ok_and(|origin| listed.contains(origin))
            }),
        }
    }
}

/// Checks an origin in the form that browsers write: `scheme://host` or `scheme://host:port`,
/// without a port that the scheme implies. Returns it in lower case.
fn check(origin: &str) -> Result<String, ConfigError> {
    let wrong = || ConfigError::Origin { origin: origin.to_owned() };
    let written = origin.to_ascii_lowercase();
    let (scheme, authority) = written.split_once("://").ok_or_else(wrong)?;
    let is_scheme = scheme.starts_with(|c: char| c.is_ascii_lowercase())
        && scheme
            .chars()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "+-.".contains(c));
    let is_host = |c: char| c.is_ascii_alphanumeric() || "-._~%:[]".contains(c);
    // The text after an IPv6 address's bracket, or the whole text of any other host.
    let last = authority.rsplit_once(']').map_or(authority, |(_, behind)| behind);
    let port = last.split_once(':').map(|(_, port)| port);
    let is_port =
        port.is_none_or(|port| port.parse::<u16>().is_ok_and(|number| number.to_string() == port));
    let implied = matches!((scheme, port), ("http", Some("80")) | ("https", Some("443")));
    let named = authority.starts_with(|c: char| c != ':') && authority.chars().all(is_host);
    if is_scheme && named && is_port && !implied { Ok(written) } else { Err(wrong()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_are_those_that_browsers_send() {
        for origin in [
            "https://app.example",
            "http://localhost:5173",
            "http://[::1]:8080",
            "https://[2001:db8::1]",
            "chrome-extension://abc",
        ] {
            assert_eq!(check(origin).as_deref(), Ok(origin));
        }
        assert_eq!(check("HTTPS://App.Example").as_deref(), Ok("https://app.example"));
        let wrong = [
            "",
            "null",
            "*",
            "app.example",
            "https://",
            "https://app.example/",
            "https://app.example/path",
            "https://:80",
        ];
        let ports = [
            "https://app.example:",
            "https://app.example:443",
            "http://app.example:80",
            "http://a:b",
            "http://a:65536",
            "http://[::1]x:1x",
        ];
        for origin in wrong.into_iter().chain(ports).chain([
            "https://user@app.example",
            "https://app example",
            "1://a",
            "https://*.example",
        ]) {
            assert_eq!(check(origin), Err(ConfigError::Origin { origin: origin.to_owned() }));
        }
    }

    #[test]
    fn requests_with_an_origin_need_a_listed_one() {
        let (app, evil) = ("https://app.example".as_bytes(), "https://evil.example".as_bytes());
        let none = Origins::default();
        assert!(none.allow([]) && !none.allow([app]) && !none.allow(["null".as_bytes()]));
        let one = none.with("https://app.example").expect("an origin");
        assert!(
            one.allow([])
                && one.allow([app])
                && !one.allow([evil])
                && !one.allow([app, evil])
                && !one.allow([&[0xff][..]])
        );
        assert!(Origins::Any.allow([evil]));
    }
}
