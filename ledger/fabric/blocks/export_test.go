package blocks_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/golang/protobuf/proto"
	"github.com/hyperledger/fabric-protos-go/common"

	"github.com/bund-exchange/bund/ledger/fabric/blocks"
)

// chain makes blocks that follow each other and hold nothing.
func chain(n int) (all []*common.Block) {
	prev := [32]byte{}
	for i := range n {
		b := &common.Block{Header: &common.BlockHeader{Number: uint64(i)}, Data: &common.BlockData{}, Metadata: &common.BlockMetadata{}}
		if i > 0 {
			b.Header.PreviousHash = append([]byte{}, prev[:]...)
		}
		prev = blocks.HeaderHash(b.Header)
		all = append(all, b)
	}
	return all
}

func stream(all []*common.Block) blocks.Stream {
	return func(_ context.Context, from uint64, take func(*common.Block) error) error {
		for _, b := range all[min(from, uint64(len(all))):] {
			if err := take(b); err != nil {
				return err
			}
		}
		return nil
	}
}

func TestExport(t *testing.T) {
	all := chain(12)
	dir := filepath.Join(t.TempDir(), "new")
	broken := errors.New("broken off")
	n, err := blocks.Export(t.Context(), dir, 10, func(ctx context.Context, from uint64, take func(*common.Block) error) error {
		return errors.Join(stream(all[:4])(ctx, from, take), broken)
	})
	if n != 4 || !errors.Is(err, broken) {
		t.Fatal(n, err)
	}
	if _, err := blocks.Export(t.Context(), dir, 10, stream(all[:6])); err == nil || !strings.Contains(err.Error(), "couldn't export block 6: the stream ended") {
		t.Fatal(err)
	}
	if n, err = blocks.Export(t.Context(), dir, 10, stream(all)); n != 4 || err != nil {
		t.Fatal(n, err)
	}
	none := func(context.Context, uint64, func(*common.Block) error) error { return errors.New("asked for more") }
	if n, err = blocks.Export(t.Context(), dir, 10, none); n != 0 || err != nil {
		t.Fatal(n, err)
	}
	names, err := os.ReadDir(dir)
	if err != nil || len(names) != 10 {
		t.Fatal(names, err)
	}
	for i := range 10 {
		raw, err := os.ReadFile(filepath.Join(dir, blocks.FileName(uint64(i))))
		if err != nil {
			t.Fatal(err)
		}
		if b, err := blocks.Parse(raw); err != nil || !proto.Equal(b, all[i]) {
			t.Errorf("block %d: %v %v", i, b, err)
		}
	}
	// A gap, as a crash may leave, is filled.
	if err := os.Remove(filepath.Join(dir, blocks.FileName(7))); err != nil {
		t.Fatal(err)
	}
	if n, err = blocks.Export(t.Context(), dir, 11, stream(all)); n != 4 || err != nil {
		t.Fatal(n, err)
	}
	other := chain(12)
	other[10].Metadata.Metadata = nil
	other[11].Header.PreviousHash[0] ^= 1
	for name, c := range map[string]struct {
		stream blocks.Stream
		error  string
	}{
		"another channel": {stream(other), "does not follow the block before it"},
		"another number":  {func(_ context.Context, _ uint64, take func(*common.Block) error) error { return take(all[3]) }, "got block 3"},
		"no header":       {func(_ context.Context, _ uint64, take func(*common.Block) error) error { return take(&common.Block{}) }, "no header"},
	} {
		if n, err := blocks.Export(t.Context(), dir, 12, c.stream); n != 0 || err == nil || !strings.Contains(err.Error(), c.error) {
			t.Errorf("%s: %d %v", name, n, err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if n, err := blocks.Export(ctx, t.TempDir(), 12, stream(all)); n != 1 || !errors.Is(err, context.Canceled) {
		t.Error(n, err)
	}
	if err := os.WriteFile(filepath.Join(dir, blocks.FileName(10)), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := blocks.Export(t.Context(), dir, 12, stream(all)); err == nil || !strings.Contains(err.Error(), "couldn't go on with the export") {
		t.Error(err)
	}
}

// TestHeader holds the encoding of a header against the bytes that Fabric gives.
func TestHeader(t *testing.T) {
	h := &common.BlockHeader{Number: 1 << 63, PreviousHash: []byte{1, 2}, DataHash: []byte{3}}
	if got, want := string(blocks.HeaderBytes(h)), "\x30\x12\x02\x09\x00\x80\x00\x00\x00\x00\x00\x00\x00\x04\x02\x01\x02\x04\x01\x03"; got != want {
		t.Errorf("%x: want %x", got, want)
	}
}
