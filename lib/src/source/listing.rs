//! The listing: which of a model's entries count, which are refused, and which are left out (OMS 1.0, 6.1.1).

use std::collections::{BTreeMap, HashMap, HashSet};

use super::{Entry, Kind, Source};
use crate::{
    Error, LoadKind, Run, code::Code, limits, loadset, policy::Pattern, report::Finding, shown::Shown,
};

/// What Git keeps beside a model; left out at its top level unless the caller wants it signed.
pub(crate) const GIT_PATHS: [&str; 4] = [".git", ".gitattributes", ".github", ".gitignore"];

/// Which entries count.
#[derive(Clone, Debug, Default)]
pub(crate) struct Rules<'a> {
    /// Paths that are left out, each with all below it; compared part by part, no patterns.
    pub(crate) ignore: Vec<&'a str>,
    /// Whether links to files and folders in the model are followed.
    pub(crate) follow_links: bool,
    /// Whether entries that are not signed are tolerated, whatever they are.
    pub(crate) tolerate_unsigned: bool,
    /// Files that are tolerated when they are not signed; links and whatever else is no file are not.
    pub(crate) may_be_unsigned: &'a [Pattern],
    /// How many files that are not signed are kept; the others are counted. None for all of them.
    pub(crate) most_unsigned: Option<usize>,
    /// Whether it is kept in mind what was passed over and would be loaded.
    pub(crate) load_set: bool,
}

/// Something that was passed over, is not signed, and would be loaded.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Hidden {
    pub(crate) name: String,
    pub(crate) by: By,
    /// Why it is not known what is in it.
    pub(crate) unreadable: Option<Finding>,
    /// Whether it is a link to something else than a file.
    pub(crate) leads: bool,
}

/// Why something was passed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum By {
    /// Its path is ignored.
    Ignored,
    /// Whatever is not signed is tolerated.
    Tolerated,
    /// The policy lets it be unsigned.
    Allowed,
}

/// A model's files as they count, sorted by name, and what is wrong with the others.
#[derive(Debug)]
pub(crate) struct Listing {
    /// Files, and links to files that are followed, in the order of their names.
    pub(crate) files: Vec<Entry>,
    /// What stands in the way: links, special files, names that cannot be signed, folders that cannot be read.
    pub(crate) findings: Vec<Finding>,
    /// Files that are left out.
    pub(crate) ignored: u64,
    /// Files that are not signed and tolerated.
    pub(crate) tolerated: u64,
    /// Links that are followed.
    pub(crate) links: u64,
    /// Files that are not signed, and too many to be kept.
    pub(crate) unkept: u64,
    /// What was passed over and would be loaded, in the order of the names.
    pub(crate) hidden: Vec<Hidden>,
    /// The same, and too many to be kept.
    pub(crate) more_hidden: u64,
    /// Those that are kept.
    unsigned: usize,
}

impl Listing {
    /// Lists a model. `signed` says which names are signed: they count even where they are ignored.
    pub(crate) fn take(
        source: &dyn Source,
        rules: &Rules<'_>,
        signed: &dyn Fn(&str) -> Signed,
        run: &Run,
    ) -> Result<Self, Error> {
        let mut listing = Listing {
            files: Vec::new(),
            findings: Vec::new(),
            ignored: 0,
            tolerated: 0,
            links: 0,
            unkept: 0,
            hidden: Vec::new(),
            more_hidden: 0,
            unsigned: 0,
        };
        // Links to folders give names to files that are listed later.
        if rules.follow_links {
            let mut entries = Vec::new();
            source.list(run, &mut |entry| {
                entries.push(entry);
                Ok(())
            })?;
            let aliases = aliases(&entries, run)?;
            for entry in entries.into_iter().chain(aliases) {
                listing.take_in(entry, rules, signed);
            }
        } else {
            source.list(run, &mut |entry| {
                listing.take_in(entry, rules, signed);
                Ok(())
            })?;
        }
        listing.files.sort_by(|a, b| a.name.cmp(&b.name));
        listing.findings.sort_by(|a, b| a.name.cmp(&b.name));
        listing.hidden.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(listing)
    }

    fn take_in(&mut self, entry: Entry, rules: &Rules<'_>, signed: &dyn Fn(&str) -> Signed) {
        let is_signed = signed(&entry.name);
        if entry.kind == Kind::Folder {
            if is_signed == Signed::Yes {
                let name = Shown(&entry.name);
                let what = format!("a folder stands in the place of the signed file {name:?}");
                self.findings.push(Finding::new(Code::NotAFile, what).about(entry.name));
            }
            return;
        }
        self.sort_in(entry, rules, is_signed);
    }

    fn sort_in(&mut self, entry: Entry, rules: &Rules<'_>, signed: Signed) {
        // A name that leads elsewhere is never overlooked: whoever downloads it may put it over a signed file.
        let misleads = entry.kind == Kind::BadName && leads_elsewhere(&entry.name);
        let matters = misleads
            || signed == Signed::Yes
            || (signed == Signed::Below && matches!(entry.kind, Kind::Unreadable(_)));
        if !matters {
            if rules.ignore.iter().any(|path| covers(path, &entry.name)) {
                self.ignored += 1;
                self.hide(entry, By::Ignored, rules);
                return;
            }
            let allowed = || rules.may_be_unsigned.iter().any(|pattern| pattern.matches(&entry.name));
            if is_let_alone(&entry, rules) {
                self.tolerated += 1;
                return;
            }
            if rules.tolerate_unsigned || (entry.kind == Kind::File && allowed()) {
                self.tolerated += 1;
                let by = if rules.tolerate_unsigned { By::Tolerated } else { By::Allowed };
                self.hide(entry, by, rules);
                return;
            }
        }
        let name = Shown(&entry.name);
        let finding = match &entry.kind {
            Kind::File | Kind::Folder => {
                if signed == Signed::No && rules.most_unsigned.is_some_and(|most| self.unsigned >= most) {
                    self.unkept += 1;
                    return;
                }
                self.unsigned += usize::from(signed == Signed::No);
                self.files.push(entry);
                return;
            }
            Kind::LinkToFile if rules.follow_links => {
                self.links += 1;
                self.files.push(entry);
                return;
            }
            // Its files are listed by their names through the link.
            Kind::LinkToFolder if rules.follow_links && signed != Signed::Yes => return,
            Kind::LinkToFolder if rules.follow_links => Finding::new(
                Code::NotAFile,
                format!("a link to a folder stands in the place of the signed file {name:?}"),
            ),
            Kind::LinkToFile | Kind::LinkToFolder => {
                Finding::new(Code::SymlinkRefused, format!("{name:?} is a symbolic link"))
            }
            Kind::LinkOut => Finding::new(
                Code::SymlinkEscapes,
                format!("{name:?} is a symbolic link that leads out of the model"),
            ),
            Kind::LinkCycle => Finding::new(
                Code::SymlinkCycle,
                format!("{name:?} is a symbolic link that leads back to itself"),
            ),
            Kind::LinkDangling => {
                Finding::new(Code::SymlinkDangling, format!("{name:?} is a symbolic link to nothing"))
            }
            Kind::Special(what) => Finding::new(Code::SpecialFile, format!("{name:?} is a {what}")),
            Kind::BadName => Finding::new(
                Code::FileNameInvalid,
                format!("the name {name:?} is not valid UTF-8, too long, or leads elsewhere"),
            ),
            Kind::Unreadable(why) => (**why).clone(),
        };
        self.findings.push(finding.about(entry.name));
    }

    /// Keeps in mind what is passed over, where it would be loaded or may lead to what would be.
    fn hide(&mut self, entry: Entry, by: By, rules: &Rules<'_>) {
        let unreadable = match &entry.kind {
            Kind::Unreadable(why) => Some((**why).clone()),
            _ => None,
        };
        let leads =
            matches!(entry.kind, Kind::LinkToFolder | Kind::LinkOut | Kind::LinkCycle | Kind::LinkDangling);
        let is_read = LoadKind::of(&entry.name).is_some() || loadset::names::is_card(&entry.name);
        if !rules.load_set || !(leads || unreadable.is_some() || is_read) {
            return;
        }
        if self.hidden.len() < loadset::FINDINGS {
            self.hidden.push(Hidden { name: entry.name, by, unreadable, leads });
        } else {
            self.more_hidden += 1;
        }
    }

    /// What is different in a later listing of the same model: names, kinds, links and stamps.
    pub(crate) fn changes(&self, later: &Listing) -> Vec<Finding> {
        let changed = |name: &str, how: &str| {
            Finding::new(Code::ChangedWhileRead, format!("{:?} {how} while the model was read", Shown(name)))
                .about(name)
        };
        let mut before: HashMap<&str, &Entry> =
            self.files.iter().map(|entry| (entry.name.as_str(), entry)).collect();
        let mut findings = Vec::new();
        for now in &later.files {
            match before.remove(now.name.as_str()) {
                Some(then) if (&then.stamp, &then.kind, &then.real) == (&now.stamp, &now.kind, &now.real) => {
                }
                Some(_) => findings.push(changed(&now.name, "changed")),
                None => findings.push(changed(&now.name, "appeared")),
            }
        }
        findings.extend(before.into_keys().map(|name| changed(name, "went")));
        let told: HashSet<_> = self.findings.iter().map(|finding| (finding.code, &finding.name)).collect();
        for finding in &later.findings {
            if !told.contains(&(finding.code, &finding.name)) {
                findings.push(changed(finding.name.as_deref().unwrap_or_default(), "changed"));
            }
        }
        let hidden: HashSet<&str> = self.hidden.iter().map(|hidden| hidden.name.as_str()).collect();
        let appeared = later.hidden.iter().filter(|now| !hidden.contains(now.name.as_str()));
        findings.extend(appeared.map(|now| changed(&now.name, "appeared")));
        findings.sort_by(|a, b| a.name.cmp(&b.name));
        findings.dedup();
        findings
    }
}

/// Whether a folder that cannot be read is named by the policy as it is, without a wildcard: `lost+found` at the root of a
/// volume, which is the system's own.
fn is_let_alone(entry: &Entry, rules: &Rules<'_>) -> bool {
    matches!(&entry.kind, Kind::Unreadable(why) if why.code == Code::PermissionDenied)
        && rules.may_be_unsigned.iter().any(|pattern| pattern.text() == entry.name)
}

/// Whether a name is signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Signed {
    /// A file of this name is.
    Yes,
    /// Something below it is.
    Below,
    /// Nothing is.
    No,
}

/// Whether a name has parts that name nothing: whoever puts such a file into a folder puts it somewhere else.
fn leads_elsewhere(name: &str) -> bool {
    name.split('/').any(|part| matches!(part, "" | "." | ".."))
}

/// Whether an ignored path covers a name: the name itself, or something below it.
///
/// Compared part by part; empty and `.` parts do not matter. An absolute path, one with a `..` and one without any other part
/// cover nothing.
pub(crate) fn covers(path: &str, name: &str) -> bool {
    let mut parts = path.split('/').filter(|part| !part.is_empty() && *part != ".").peekable();
    if path.starts_with('/')
        || path.split('/').any(|part| part == "..")
        || parts.peek().is_none()
        || leads_elsewhere(name)
    {
        return false;
    }
    let mut names = name.split('/');
    parts.all(|part| names.next() == Some(part))
}

/// The names that files have through links to folders: `link/file` for every `folder/file`, links in folders behind links
/// included.
fn aliases(entries: &[Entry], run: &Run) -> Result<Vec<Entry>, Error> {
    let links = entries.iter().filter(|entry| entry.kind == Kind::LinkToFolder);
    let mut aliases = Aliases {
        by_name: entries.iter().map(|entry| (entry.name.as_str(), entry)).collect(),
        inside: Vec::new(),
        steps: 0,
        run,
        found: Vec::new(),
    };
    for link in links {
        aliases.expand(&link.name, link)?;
    }
    Ok(aliases.found)
}

struct Aliases<'a> {
    by_name: BTreeMap<&'a str, &'a Entry>,
    /// The folders that are being walked through.
    inside: Vec<&'a str>,
    /// Everything that was looked at: links to folders of links multiply without adding a file.
    steps: usize,
    run: &'a Run,
    found: Vec<Entry>,
}

impl<'a> Aliases<'a> {
    fn expand(&mut self, prefix: &str, link: &'a Entry) -> Result<(), Error> {
        let real = link.real.as_deref().unwrap_or_default();
        let folder = format!("{real}/");
        self.inside.push(real);
        let below: Vec<(&str, &Entry)> = self
            .by_name
            .range(folder.as_str()..)
            .take_while(|(name, _)| name.starts_with(&folder))
            .take(limits::ALIASES - self.steps.min(limits::ALIASES) + 1)
            .map(|(name, entry)| (*name, *entry))
            .collect();
        for (name, entry) in below {
            let alias = format!("{prefix}/{}", name.get(folder.len()..).unwrap_or_default());
            self.steps += 1;
            if self.steps > limits::ALIASES || alias.len() > limits::NAME_BYTES {
                let what = format!("the links in {:?} lead to too many names", Shown(prefix));
                return Err(Error::new(Code::TooManyEntries, what));
            }
            if self.steps.is_multiple_of(256) {
                self.run.check()?;
            }
            let through = |kind: Kind, real: Option<String>| Entry {
                name: alias.clone(),
                kind,
                real,
                through: Some(link.name.clone()),
                size: entry.size,
                stamp: super::Stamp { link: link.stamp.link, ..entry.stamp.clone() },
                stated: entry.stated,
            };
            match &entry.kind {
                Kind::Folder => {}
                Kind::File | Kind::LinkToFile => {
                    let alias = through(Kind::LinkToFile, Some(entry.location().to_owned()));
                    self.found.push(alias);
                }
                Kind::LinkToFolder => {
                    let real = entry.real.as_deref().unwrap_or_default();
                    // A folder that is being walked through already would be walked for ever.
                    if self.inside.iter().any(|outer| covers(real, outer)) {
                        self.found.push(through(Kind::LinkCycle, None));
                    } else {
                        self.expand(&alias, entry)?;
                    }
                }
                other => self.found.push(through(other.clone(), None)),
            }
        }
        self.inside.pop();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ignored_paths_cover_themselves_and_what_is_below_and_nothing_else() {
        for (path, name, covered) in [
            ("a", "a", true),
            ("a", "a/b", true),
            ("a/", "a/b", true),
            ("a/b", "a/b/c", true),
            ("a", "ab", false),
            ("a", "b/a", false),
            ("", "a", false),
            (".", "a", false),
            ("./a", "a", true),
            ("a/.", "a/b", true),
            ("a//b", "a/b/c", true),
            ("./", "a", false),
            ("a/..", "a", false),
            ("/", "a", false),
            ("/a", "a", false),
            ("..", "a", false),
            ("x/../a", "a", false),
            ("a", "a/../b", false),
            ("a", "a//b", false),
            ("a", "a/./b", false),
            ("a", "a/", false),
            ("*", "a", false),
            ("*", "*", true),
            ("a[b]?", "a[b]?/c", true),
        ] {
            assert_eq!(covers(path, name), covered, "{path} {name}");
        }
    }
}
