// Package managed runs a private PostgreSQL server as a child process, for a market that is given no other: reachable
// through a socket in its own folder only, never over TCP, and ended with the process that started it.
//
// The folder holds
//
//	lock            held by the one process that runs this server
//	data-<major>/   the database cluster, one folder per major version, since none reads another's
//	password        of the role "bund", 48 random hex digits, mode 0600
//	s/              the socket, unless its path would be too long
//	postgres.log    what the server printed; statements and their values are not logged
package managed

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// Role is the owner of everything in a managed server.
const Role = "bund"

// Config says where a server lives.
type Config struct {
	// Dir belongs to this server alone. It is made if absent.
	Dir string

	// CacheDir is where server binaries are installed when the machine has none. Empty: nothing is installed.
	CacheDir string

	// Disposable gives up durability for speed: a crash of the machine loses the cluster. Only for tests.
	Disposable bool

	Log *slog.Logger // nil: slog.Default()
}

// Server is a running PostgreSQL. Its methods are safe for concurrent use.
type Server struct {
	dir      string
	major    int
	data     string
	socket   string
	password string
	lock     *os.File
	log      *slog.Logger

	cmd  *exec.Cmd
	dead chan struct{} // closed when the process has ended; err is set before
	err  error
}

// errHeld is a server that ended while it started because an earlier one's dying children still hold its shared memory
// or its socket: worth another start.
var errHeld = errors.New("what an earlier postgres held is not free yet")

// startWithin bounds a start, recovery from a crash included, when ctx has no deadline of its own.
const startWithin = 5 * time.Minute

// retryFor is how long a server that ends because of errHeld is started again.
const retryFor = 10 * time.Second

// Start runs the server of a folder, making its cluster first if there is none. A folder that another process uses is
// an error; a server left over by a process that was killed is ended first.
func Start(ctx context.Context, cfg Config) (*Server, error) {
	ctx, cancel := context.WithTimeout(ctx, startWithin)
	defer cancel()
	s := &Server{log: cfg.Log}
	if s.log == nil {
		s.log = slog.Default()
	}
	var err error
	if s.dir, err = filepath.Abs(cfg.Dir); err != nil {
		return nil, fmt.Errorf("couldn't name the database folder: %w", err)
	}
	if err := os.MkdirAll(s.dir, 0o700); err != nil {
		return nil, fmt.Errorf("couldn't make the database folder: %w", err)
	}
	if s.dir, err = filepath.EvalSymlinks(s.dir); err != nil {
		return nil, fmt.Errorf("couldn't name the database folder: %w", err)
	}
	if s.lock, err = lockFolder(s.dir); err != nil {
		return nil, err
	}
	if err := s.start(ctx, cfg); err != nil {
		s.lock.Close()
		return nil, err
	}
	return s, nil
}

func (s *Server) start(ctx context.Context, cfg Config) error {
	bin, err := findBinaries(ctx, s.dir, cfg.CacheDir, s.log)
	if err != nil {
		return err
	}
	s.major = bin.major
	s.data = filepath.Join(s.dir, fmt.Sprintf("data-%d", bin.major))
	as, err := chooseAccount(ctx, s.dir, s.data, bin)
	if err != nil {
		return err
	}
	if s.socket, err = socketFolder(s.dir, as); err != nil {
		return err
	}
	if s.password, err = readPassword(filepath.Join(s.dir, "password"), as); err != nil {
		return err
	}
	if err := s.makeCluster(ctx, cfg, bin, as); err != nil {
		return err
	}
	for began := time.Now(); ; {
		if err := s.clearStale(ctx); err != nil {
			return err
		}
		err := s.run(ctx, cfg, bin, as)
		if err == nil || !errors.Is(err, errHeld) || time.Since(began) > retryFor {
			return err
		}
		s.log.WarnContext(ctx, "postgres is started again", "err", err)
		if pause(ctx, 200*time.Millisecond) != nil {
			return err
		}
	}
}

// URL is how to connect to one of the server's databases. It holds the password: never log it.
func (s *Server) URL(database string) string {
	u := url.URL{Scheme: "postgres", User: url.UserPassword(Role, s.password), Path: "/" + database}
	u.RawQuery = url.Values{"host": {s.socket}, "sslmode": {"disable"}}.Encode()
	return u.String()
}

// Major is the server's major version.
func (s *Server) Major() int { return s.major }

// PID is the process id of the server.
func (s *Server) PID() int { return s.cmd.Process.Pid }

// Done is closed when the server has ended, whoever ended it.
func (s *Server) Done() <-chan struct{} { return s.dead }

// Stop ends the server: at first so that it needs no recovery, then by force. Calling it again does nothing.
func (s *Server) Stop() error {
	defer s.lock.Close()
	for _, step := range []struct {
		sig    syscall.Signal
		within time.Duration
	}{{syscall.SIGINT, 15 * time.Second}, {syscall.SIGQUIT, 5 * time.Second}, {syscall.SIGKILL, 5 * time.Second}} {
		s.cmd.Process.Signal(step.sig) // an error means that it has ended
		select {
		case <-s.dead:
			return nil
		case <-time.After(step.within):
		}
	}
	return errors.New("postgres did not end, not even by SIGKILL")
}

// run starts the server and waits until it takes connections.
func (s *Server) run(ctx context.Context, cfg Config, bin binaries, as account) error {
	out, err := openLog(filepath.Join(s.dir, "postgres.log"))
	if err != nil {
		return err
	}
	defer out.Close()
	from, err := out.Seek(0, 2)
	if err != nil {
		return fmt.Errorf("couldn't read the end of postgres.log: %w", err)
	}
	// The start is ctx's, the life is not.
	cmd := bin.command(context.WithoutCancel(ctx), "postgres", serverArgs(s.data, s.socket, cfg.Disposable)...)
	cmd.Dir, cmd.SysProcAttr = s.dir, as.attr(syscall.SIGINT)
	cmd.Stdout, cmd.Stderr = out, out
	s.cmd, s.dead = cmd, make(chan struct{})
	started := make(chan error, 1)
	go pinned(func() {
		err := cmd.Start()
		started <- err
		if err == nil {
			s.err = cmd.Wait()
			close(s.dead)
		}
	})
	if err := <-started; err != nil {
		return fmt.Errorf("couldn't start postgres: %w", err)
	}
	for !s.ready() {
		select {
		case <-s.dead:
			return ended(s.err, tail(out.Name(), from))
		case <-ctx.Done():
			s.Stop()
			return fmt.Errorf("couldn't wait for postgres: %w", ctx.Err())
		case <-time.After(5 * time.Millisecond):
		}
	}
	return nil
}

// ended makes the error of a server that ended while it started, from what it printed.
func ended(err error, printed string) error {
	for _, held := range []string{"pre-existing shared memory block", "lock file \"", "already in use"} {
		if strings.Contains(printed, held) {
			return fmt.Errorf("%w: %s", errHeld, printed)
		}
	}
	return fmt.Errorf("postgres ended while it started (%v): %s", err, printed)
}

// ready reads what pg_ctl reads: the eighth line of postmaster.pid is "ready" once the server takes connections.
func (s *Server) ready() bool {
	b, err := os.ReadFile(filepath.Join(s.data, "postmaster.pid"))
	if err != nil {
		return false
	}
	lines := strings.Split(string(b), "\n")
	return len(lines) >= 8 && strings.TrimSpace(lines[0]) == fmt.Sprint(s.cmd.Process.Pid) && strings.TrimSpace(lines[7]) == "ready"
}

func serverArgs(data, socket string, disposable bool) []string {
	set := []string{
		"listen_addresses=", "unix_socket_directories=" + socket, "unix_socket_permissions=0700",
		"max_connections=100", "timezone=UTC", "log_timezone=UTC", "logging_collector=off",
		// Values of statements and of violated keys may be private.
		"log_min_error_statement=panic", "log_error_verbosity=terse", "log_statement=none",
	}
	if disposable {
		set = append(set, "fsync=off", "synchronous_commit=off", "full_page_writes=off", "shared_buffers=32MB")
	}
	args := []string{"-D", data}
	for _, kv := range set {
		args = append(args, "-c", kv)
	}
	return args
}

func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}
