package managed

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"runtime"
	"strconv"
	"syscall"
)

// account is whom the server runs as: PostgreSQL refuses to run as root.
type account struct {
	uid, gid  int  // of the files; -1: the caller's
	namespace bool // root of the machine under another id in a user namespace; the files stay root's
}

func (a account) attr(deathSig syscall.Signal) *syscall.SysProcAttr {
	// A process group of its own keeps a terminal's Ctrl-C from the server: whoever started it ends it, in order.
	attr := &syscall.SysProcAttr{Setpgid: true}
	setDeathSignal(attr, deathSig)
	if a.namespace {
		setNamespace(attr)
	} else if a.uid >= 0 {
		attr.Credential = &syscall.Credential{Uid: uint32(a.uid), Gid: uint32(a.gid)}
	}
	return attr
}

// give makes a file the server's.
func (a account) give(path string) error {
	if a.uid < 0 {
		return nil
	}
	if err := os.Lchown(path, a.uid, a.gid); err != nil {
		return fmt.Errorf("couldn't give a file to the database's account: %w", err)
	}
	return nil
}

// owner is the user id that the server's files must have.
func (a account) owner() int {
	if a.uid < 0 {
		return os.Geteuid()
	}
	return a.uid
}

// chooseAccount finds whom the server can run as. A cluster keeps the owner that it has. For root's new one the first
// of these is taken that can run the program in the folder, which a folder under root's own home prevents: the account
// postgres, the account nobody, a user namespace.
func chooseAccount(ctx context.Context, dir, data string, bin binaries) (account, error) {
	same := account{uid: -1, gid: -1}
	if os.Geteuid() != 0 {
		return same, nil
	}
	namespaced := account{uid: -1, gid: -1, namespace: true}
	var choices []account
	st, err := os.Stat(data)
	switch {
	case err == nil:
		own := st.Sys().(*syscall.Stat_t)
		if own.Uid == 0 {
			choices = []account{namespaced}
		} else {
			choices = []account{{uid: int(own.Uid), gid: int(own.Gid)}}
		}
	case errors.Is(err, fs.ErrNotExist):
		for _, name := range []string{"postgres", "nobody"} {
			if u, err := user.Lookup(name); err == nil {
				uid, _ := strconv.Atoi(u.Uid)
				gid, _ := strconv.Atoi(u.Gid)
				choices = append(choices, account{uid: uid, gid: gid})
			}
		}
		choices = append(choices, namespaced)
	default:
		return account{}, fmt.Errorf("couldn't look at the database folder: %w", err)
	}
	// The account must pass through the folder; what is in it has modes of its own.
	if err := os.Chmod(dir, 0o711); err != nil {
		return account{}, fmt.Errorf("couldn't open the database folder to its account: %w", err)
	}
	var last error
	for _, a := range choices {
		if last = probe(ctx, dir, bin, a); last == nil {
			return a, nil
		}
	}
	return account{}, fmt.Errorf("postgres can't run as root, and no other account can reach %s: choose a folder under /var/lib (%w)", dir, last)
}

// probe runs the program in the folder as the account.
func probe(ctx context.Context, dir string, bin binaries, a account) error {
	c := bin.command(ctx, "postgres", "--version")
	c.Dir, c.SysProcAttr = dir, a.attr(syscall.SIGKILL)
	done := make(chan error)
	go pinned(func() { done <- c.Run() })
	return <-done
}

// pinned runs f on a thread of its own that ends with it. The death signal of a child follows the thread that started
// it, not the process, so that thread must live as long as the child.
func pinned(f func()) {
	runtime.LockOSThread()
	f()
}
