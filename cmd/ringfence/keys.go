package main

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// keyring is a secret of 32 bytes with the one before it, kept in a file of
// the state directory that only its owner may read. Nonces, flow tokens and what
// rates count by, made before a restart, stay good after it.
type keyring struct{ Current, Previous [32]byte }

// loadKeyring reads DIR/keys/NAME and makes it when it is not there. A disk that
// refuses to be read or written is an error beside a keyring that is good for this run.
func loadKeyring(dir, name string) (keyring, error) {
	path := filepath.Join(dir, "keys", name)
	text, err := os.ReadFile(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return newKeyring(path)
	case err != nil:
		return madeKeyring(), fmt.Errorf("key %s: %w", name, err)
	}
	if info, err := os.Stat(path); err == nil && info.Mode().Perm()&0o077 != 0 {
		return keyring{}, fmt.Errorf("key %s: %s can be read by others: chmod 600 it", name, path)
	}
	var k keyring
	lines := strings.Fields(string(text))
	if len(lines) != 2 || !unhex(k.Current[:], lines[0]) || !unhex(k.Previous[:], lines[1]) {
		// Made anew: what was signed with the old one, a nonce or the token of a call, is
		// worth nothing now, and phones are asked once more.
		if err := os.Rename(path, path+".damaged"); err != nil {
			return madeKeyring(), fmt.Errorf("key %s: %s does not hold two lines of 64 hexadecimal digits: remove it and a new key is made: %w", name, path, err)
		}
		return newKeyring(path)
	}
	return k, nil
}

// nextKeyring is loadKeyring with a new key for this run, and that of the run
// before as the previous one.
func nextKeyring(dir, name string) (keyring, error) {
	k, err := loadKeyring(dir, name)
	if err != nil {
		return k, err
	}
	k.Previous = k.Current
	rand.Read(k.Current[:]) // never fails, crypto/rand
	return k, k.write(filepath.Join(dir, "keys", name))
}

func unhex(dst []byte, text string) bool {
	b, err := hex.DecodeString(text)
	return err == nil && copy(dst, b) == len(dst) && len(b) == len(dst)
}

func madeKeyring() (k keyring) {
	rand.Read(k.Current[:]) // never fails, crypto/rand
	rand.Read(k.Previous[:])
	return k
}

func newKeyring(path string) (keyring, error) {
	k := madeKeyring()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return k, fmt.Errorf("keys: %w", err)
	}
	return k, k.write(path)
}

func (k keyring) write(path string) error {
	text := hex.EncodeToString(k.Current[:]) + "\n" + hex.EncodeToString(k.Previous[:]) + "\n"
	if err := writeWhole(path, []byte(text), 0o600); err != nil {
		return fmt.Errorf("keys: %w", err)
	}
	return nil
}

// writeWhole puts a file in place whole or not at all, also when the machine
// stops in the middle.
func writeWhole(path string, text []byte, mode fs.FileMode) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".new-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // a no-op after the rename
	_, err = f.Write(text)
	err = errors.Join(err, f.Chmod(mode), f.Sync(), f.Close())
	if err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}
