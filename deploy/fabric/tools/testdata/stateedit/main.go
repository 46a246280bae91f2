// Stateedit is what somebody with the disk of a stopped peer can do: it replaces bytes in a value of the peer's state
// database, and leaves the value's version. Tests run it to see that the others notice.
//
//	stateedit DIR CHANNEL NAMESPACE KEY OLD NEW     OLD and NEW in hexadecimal
package main

import (
	"bytes"
	"cmp"
	"encoding/hex"
	"fmt"
	"os"

	"github.com/syndtr/goleveldb/leveldb"
	"github.com/syndtr/goleveldb/leveldb/opt"
)

func main() {
	if len(os.Args) != 7 {
		fmt.Fprintln(os.Stderr, "usage: stateedit DIR CHANNEL NAMESPACE KEY OLD NEW")
		os.Exit(2)
	}
	a := os.Args
	old, err1 := hex.DecodeString(a[5])
	with, err2 := hex.DecodeString(a[6])
	if err := cmp.Or(err1, err2, edit(a[1], a[2]+"\x00d"+a[3]+"\x00"+a[4], old, with)); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// edit replaces bytes by as many, so that the lengths in the stored value stay right.
func edit(dir, key string, old, text []byte) error {
	if len(old) == 0 || len(old) != len(text) {
		return fmt.Errorf("want old and new bytes of one length")
	}
	db, err := leveldb.OpenFile(dir, &opt.Options{ErrorIfMissing: true})
	if err != nil {
		return fmt.Errorf("couldn't open the state: %w", err)
	}
	defer db.Close()
	v, err := db.Get([]byte(key), nil)
	if err != nil {
		return fmt.Errorf("couldn't read %q: %w", key, err)
	}
	if !bytes.Contains(v, old) {
		return fmt.Errorf("the value of %q doesn't hold the old bytes", key)
	}
	return db.Put([]byte(key), bytes.ReplaceAll(v, old, text), &opt.WriteOptions{Sync: true})
}
