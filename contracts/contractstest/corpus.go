package contractstest

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/bund-exchange/bund/contracts"
)

// Coverage says what a run of the corpus met.
type Coverage struct {
	Accepted map[string]int         // by kind
	Refused  map[contracts.Code]int // by code

	mu sync.Mutex // open may let its script run beside others
}

// RunCorpus plays every script of dir (contracts/testdata; its README has the language) on an executor of its own and on
// the rules in memory, which must give the same answer to every command. When the executor is a contracts.State too, it
// must hold the same state in the end. A script that sets the wall clock is skipped unless the executor is a WallClock, and
// one about positions if it is Positionless.
// open may call t.Parallel: then the coverage is complete when the caller's test has ended.
// With a test flag -rewrite (of the caller's test package) expectations of state and events are written anew.
func RunCorpus(t *testing.T, dir string, open func(t *testing.T, ledger string) Executor) *Coverage {
	t.Helper()
	f := flag.Lookup("rewrite")
	rewrite := f != nil && f.Value.String() == "true"
	c := &Coverage{Accepted: map[string]int{}, Refused: map[contracts.Code]int{}}
	for _, name := range Scripts(t, dir) {
		file := filepath.Join(dir, name+".txt")
		t.Run(name, func(t *testing.T) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			ledger := "bund.test/" + name
			s := NewScene(ledger, open(t, ledger), 1)
			s.observe = c.observe
			again, err := s.Play(string(text), rewrite)
			if errors.Is(err, errNoWall) || errors.Is(err, errNoPositions) {
				t.Skip(err)
			}
			if err != nil {
				t.Fatal(err)
			}
			if err := s.sameState(); err != nil {
				t.Error(err)
			}
			if rewrite && again != string(text) {
				if err := os.WriteFile(file, []byte(again), 0o644); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
	return c
}

// Scripts lists the scripts of a corpus, by name without ".txt".
func Scripts(t *testing.T, dir string) (names []string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*.txt"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no scripts in %s (%v)", dir, err)
	}
	for _, f := range files {
		names = append(names, strings.TrimSuffix(filepath.Base(f), ".txt"))
	}
	return names
}

func (c *Coverage) observe(st *Step) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if st.Refusal != nil {
		c.Refused[st.Refusal.Code]++
		return
	}
	if !st.Use && !st.Result.Repeated {
		c.Accepted[st.Result.Outcome.Kind]++
	}
}

// Play plays a whole script and gives it back, with the expectations of state and events as they are when rewrite is
// set. The error names the line.
func (s *Scene) Play(script string, rewrite bool) (string, error) {
	var out []string
	unexpected := error(nil) // a refusal that no line has claimed yet
	lines := strings.Split(strings.TrimRight(script, "\n"), "\n")
	for i, raw := range lines {
		text, _, _ := strings.Cut(" "+raw, " #") // a comment
		text = strings.TrimSpace(text)
		fail := func(err error) (string, error) { return "", fmt.Errorf("line %d: %s: %w", i+1, text, err) }
		switch {
		case text == "":
		case strings.HasPrefix(text, "expect "):
			right, err := s.expect(text, rewrite)
			if err != nil {
				return fail(err)
			}
			unexpected = nil
			if right != text {
				raw = strings.Replace(raw, text, right, 1)
			}
		case strings.HasPrefix(text, "end"):
			if unexpected != nil {
				return fail(unexpected)
			}
			right := fmt.Sprintf("end entries=%d state=%s", len(s.Oracle.Applied), s.Oracle.Hash()[:16])
			if _, err := check(text, right, rewrite); err != nil {
				return fail(err)
			}
			raw = right
		default:
			if unexpected != nil {
				return fail(unexpected)
			}
			before := s.last
			if err := s.Run(text); err != nil {
				return fail(err)
			}
			if s.last != before && s.last.Refusal != nil {
				unexpected = fmt.Errorf("the line before was refused: %w", s.last.Refusal)
			}
		}
		out = append(out, raw)
	}
	if last := lines[len(lines)-1]; !strings.HasPrefix(last, "end") {
		return "", errors.New("a script ends with a line \"end\"")
	}
	return strings.Join(out, "\n") + "\n", nil
}

// sameState compares the executor's state with the rules'; all of it, when the executor can list its keys.
func (s *Scene) sameState() error {
	st, ok := s.exec.(contracts.State)
	if !ok {
		return nil
	}
	if l, ok := s.exec.(interface{ Keys() []string }); ok && !slices.Equal(l.Keys(), s.Oracle.Keys()) {
		return fmt.Errorf("the executor's keys are %v, the rules' %v", l.Keys(), s.Oracle.Keys())
	}
	for _, k := range s.Oracle.Keys() {
		got, err := st.Get(k)
		if err != nil {
			return err
		}
		if want := s.Oracle.m[k]; string(got) != string(want) {
			return fmt.Errorf("%s: the executor has %s, the rules %s", k, got, want)
		}
	}
	return nil
}
