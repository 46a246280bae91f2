package network

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// ccPackage makes a package of chaincode that runs as a service: no code, and neither where it listens nor whom it trusts,
// which a peer's builder knows. The same label gives the same bytes and the same id, with every organisation.
func ccPackage(label string) (id string, pkg []byte, err error) {
	metadata, err := json.Marshal(map[string]string{"type": "ccaas", "label": label})
	if err != nil {
		return "", nil, err
	}
	code, err := tarball([]file{{"connection.json", []byte(unusedConnection)}})
	if err != nil {
		return "", nil, err
	}
	if pkg, err = tarball([]file{{"metadata.json", metadata}, {"code.tar.gz", code}}); err != nil {
		return "", nil, err
	}
	return fmt.Sprintf("%s:%x", label, sha256.Sum256(pkg)), pkg, nil
}

// unusedConnection stands in a package for what differs between peers. Were that in there, the package's id would differ too,
// and an organisation can approve one id only: its second peer would share the first one's process. No peer reads it, yet it
// stays as it is: organisations of networks that exist have approved ids of packages with these bytes.
const unusedConnection = `{"address":"{{address}}","dial_timeout":"10s","tls_required":false}`

type file struct {
	name string
	body []byte
}

func tarball(fs []file) ([]byte, error) {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	t := tar.NewWriter(z)
	for _, f := range fs {
		if err := t.WriteHeader(&tar.Header{Name: f.name, Mode: 0o644, Size: int64(len(f.body))}); err != nil {
			return nil, err
		}
		if _, err := t.Write(f.body); err != nil {
			return nil, err
		}
	}
	if err := t.Close(); err != nil {
		return nil, err
	}
	if err := z.Close(); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

// keepProgram copies a chaincode binary into the network's folder under its digest: the one that was installed goes on
// running when its source is built anew.
func keepProgram(dir, source string) (digest string, err error) {
	f, err := os.Open(source)
	if err != nil {
		return "", fmt.Errorf("couldn't read the chaincode's program: %w", err)
	}
	defer f.Close()
	if err := os.MkdirAll(filepath.Join(dir, "chaincode"), 0o700); err != nil {
		return "", err
	}
	tmp, err := os.CreateTemp(filepath.Join(dir, "chaincode"), "new")
	if err != nil {
		return "", err
	}
	defer os.Remove(tmp.Name())
	h := sha256.New()
	if _, err := io.Copy(io.MultiWriter(tmp, h), f); err != nil {
		return "", fmt.Errorf("couldn't copy the chaincode's program: %w", err)
	}
	if err := tmp.Chmod(0o700); err != nil {
		return "", err
	}
	if err := tmp.Close(); err != nil {
		return "", err
	}
	digest = fmt.Sprintf("%x", h.Sum(nil))
	return digest, os.Rename(tmp.Name(), programFile(dir, digest))
}

func programFile(dir, digest string) string { return filepath.Join(dir, "chaincode", digest) }
