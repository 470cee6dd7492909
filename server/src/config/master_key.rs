//! Where the operator keeps the master key.

use std::path::{Path, PathBuf};

use secrecy::SecretString;

use super::names::{
    CREDENTIALS_DIRECTORY, ENCRYPTION_KEY, ENCRYPTION_KEY_FILE, ENCRYPTION_PASSPHRASE,
    ENCRYPTION_PASSPHRASE_FILE, MASTER_ENCRYPTION_KEY,
};
use super::parse::wrong;
use super::{ConfigError, Sources};

/// Where the master key comes from.
pub(crate) enum MasterKeySource {
    /// A file of the data folder, made at the first start.
    Folder,
    /// A setting of this name.
    Setting(&'static str, SecretString),
    /// A file that the setting of this name, or systemd, gives.
    File(&'static str, PathBuf),
    /// Somebody's mind: a setting of this name has the passphrase.
    Passphrase(&'static str, SecretString),
    /// A file with the passphrase.
    PassphraseFile(&'static str, PathBuf),
}

impl MasterKeySource {
    pub(super) fn parse(sources: &Sources) -> Result<Self, ConfigError> {
        let text = |name| sources.text(name);
        if let (Some(one), Some(other)) = (text(ENCRYPTION_KEY), text(MASTER_ENCRYPTION_KEY))
            && one != other
        {
            return Err(wrong(
                MASTER_ENCRYPTION_KEY,
                "differs from ENCRYPTION_KEY; set one of them",
            ));
        }
        let setting = |name| text(name).map(|text| Self::Setting(name, text.into()));
        let key = setting(ENCRYPTION_KEY).or_else(|| setting(MASTER_ENCRYPTION_KEY));
        let file = |name| text(name).map(|path| Self::File(name, path.into()));
        let said = |name| text(name).map(|text| Self::Passphrase(name, text.into()));
        let written = |name| text(name).map(|path| Self::PassphraseFile(name, path.into()));
        let given = [
            key,
            file(ENCRYPTION_KEY_FILE),
            said(ENCRYPTION_PASSPHRASE),
            written(ENCRYPTION_PASSPHRASE_FILE),
        ];
        let mut given = given.into_iter().flatten();
        let first = given.next();
        if let (Some(one), Some(other)) = (&first, given.next()) {
            let problem = format!(
                "the master key is given twice, also by {}; keep one of them",
                one.kept_in().unwrap_or_default()
            );
            return Err(wrong(other.kept_in().unwrap_or_default(), problem));
        }
        let credential = || Self::credential(text(CREDENTIALS_DIRECTORY)?.as_ref());
        Ok(first.or_else(credential).unwrap_or(Self::Folder))
    }

    /// What systemd's `LoadCredential=` has put in place.
    fn credential(folder: &Path) -> Option<Self> {
        let (key, phrase) = (folder.join(KEY), folder.join(PASSPHRASE));
        if key.exists() {
            return Some(Self::File(KEY, key));
        }
        phrase
            .exists()
            .then_some(Self::PassphraseFile(PASSPHRASE, phrase))
    }

    /// What the operator changes to change the key; nothing when the server keeps it itself.
    pub(crate) const fn kept_in(&self) -> Option<&'static str> {
        match self {
            Self::Folder => None,
            Self::Setting(name, _)
            | Self::File(name, _)
            | Self::Passphrase(name, _)
            | Self::PassphraseFile(name, _) => Some(name),
        }
    }
}

/// The names of the credentials.
const KEY: &str = "master-key";
const PASSPHRASE: &str = "master-passphrase";

#[cfg(test)]
mod tests {
    use super::{MasterKeySource, Sources};

    fn parse<const N: usize>(
        pairs: [(&'static str, &str); N],
    ) -> Result<Option<&'static str>, String> {
        let source = MasterKeySource::parse(&Sources::from_pairs(pairs));
        source
            .map(|source| source.kept_in())
            .map_err(|refused| refused.to_string())
    }

    #[test]
    fn one_source_is_taken_and_two_are_refused() {
        assert_eq!(parse([]), Ok(None));
        assert_eq!(parse([("ENCRYPTION_KEY", "a")]), Ok(Some("ENCRYPTION_KEY")));
        let both = [("ENCRYPTION_KEY", "a"), ("MASTER_ENCRYPTION_KEY", "a")];
        assert_eq!(parse(both), Ok(Some("ENCRYPTION_KEY")));
        assert!(parse([("ENCRYPTION_KEY", "a"), ("MASTER_ENCRYPTION_KEY", "b")]).is_err());
        let two = [
            ("ENCRYPTION_KEY_FILE", "/a"),
            ("ENCRYPTION_PASSPHRASE", "b"),
        ];
        let refused = parse(two).unwrap_err();
        assert!(refused.contains("ENCRYPTION_KEY_FILE"), "{refused}");
    }

    #[test]
    fn a_credential_of_systemd_is_found() {
        let folder = tempfile::tempdir().unwrap();
        let there = folder.path().to_str().unwrap().to_owned();
        let found = || parse([("CREDENTIALS_DIRECTORY", there.as_str())]).unwrap();
        assert_eq!(found(), None);
        std::fs::write(folder.path().join("master-passphrase"), "x").unwrap();
        assert_eq!(found(), Some("master-passphrase"));
        std::fs::write(folder.path().join("master-key"), "x").unwrap();
        assert_eq!(found(), Some("master-key"));
    }
}
