package main

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// strongbox seals what this node keeps and nobody else may read, under a key derived from the node's sealing key.
type strongbox struct {
	aead cipher.AEAD
	mac  []byte // names what is sealed without telling it
}

func newStrongbox(seal [32]byte, what string) (*strongbox, error) {
	key, err := hkdf.Key(sha256.New, seal[:], nil, "bund/strongbox/v1 "+what, 64)
	if err != nil {
		return nil, err
	}
	block, err := aes.NewCipher(key[:32])
	if err != nil {
		return nil, err
	}
	a, err := cipher.NewGCM(block)
	return &strongbox{a, key[32:]}, err
}

// seal binds what it seals to its name.
func (s *strongbox) seal(name string, b []byte) []byte {
	nonce := make([]byte, s.aead.NonceSize())
	rand.Read(nonce)
	return s.aead.Seal(nonce, nonce, b, []byte(name))
}

func (s *strongbox) open(name string, b []byte) ([]byte, error) {
	if len(b) < s.aead.NonceSize() {
		return nil, errors.New("what is sealed is short")
	}
	return s.aead.Open(nil, b[:s.aead.NonceSize()], b[s.aead.NonceSize():], []byte(name))
}

// write puts a sealed file in its place, whole and on disk, or not at all.
func (s *strongbox) write(path string, b []byte) error {
	dir := filepath.Dir(path)
	f, err := os.CreateTemp(dir, "tmp-*") // 0600
	if err != nil {
		return fmt.Errorf("couldn't keep %s: %w", filepath.Base(path), err)
	}
	defer os.Remove(f.Name())
	_, err = f.Write(s.seal(filepath.Base(path), b))
	if err = errors.Join(err, f.Sync(), f.Close()); err == nil {
		err = errors.Join(os.Rename(f.Name(), path), syncDir(dir))
	}
	if err != nil {
		return fmt.Errorf("couldn't keep %s: %w", filepath.Base(path), err)
	}
	return nil
}

// read gives what write kept. Its error wraps os.ErrNotExist when there is nothing.
func (s *strongbox) read(path string) ([]byte, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	if b, err = s.open(filepath.Base(path), b); err != nil {
		return nil, fmt.Errorf("couldn't open %s: it is damaged, or not sealed by this node", filepath.Base(path))
	}
	return b, nil
}
