package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/bund-exchange/bund/contracts"
	"github.com/bund-exchange/bund/contracts/policy"
	"github.com/bund-exchange/bund/ledger/follow"
	"github.com/bund-exchange/bund/privacy/lookup"
)

// lookups is private and consent-bound lookup, in all three roles. All stands in <dir>/lookup:
//
//	tables/<version>.<epoch>.<key>.table   a provider's tables, and beside them
//	                              .secret  their keys, sealed
//	fetched/<version>.<epoch>.<root>.table tables that a consumer fetched, and .part while it does
//	asked/<nonce>                          a consumer's questions with what blinds them, sealed
//	tickets.db                             nonces of tickets that a provider has seen
//	history.db                             a consent service's histories of companies, sealed
type lookups struct {
	n      *Node
	dir    string
	box    *strongbox
	spent  *spentTickets
	asked  *histories
	ctx    context.Context // of what runs on behind a request
	stop   context.CancelFunc
	behind sync.WaitGroup

	mu       sync.Mutex
	building map[contracts.ID]*tableBuild    // by version
	fetching map[contracts.Hash]*tableFetch  // by root
	issuing  map[[32]byte]chan struct{}      // applications that are being answered
	watched  map[contracts.ID]watched        // by agreement
	opening  sync.Mutex                      // one table is read at a time
	served   map[contracts.ID]*servedTable   // by version; with opening
	fetched  map[contracts.Hash]*openedTable // by root; with opening
	files    []*os.File                      // of all tables that were opened
}

// openedTable is a table on disk that was found to be the committed one.
type openedTable struct {
	*lookup.Table
	file *os.File
}

func lookupMode(n *Node) (_ *mode, err error) {
	l := &lookups{n: n, dir: filepath.Join(n.cfg.Dir, "lookup"), building: map[contracts.ID]*tableBuild{}, fetching: map[contracts.Hash]*tableFetch{}, issuing: map[[32]byte]chan struct{}{}, watched: map[contracts.ID]watched{},
		served: map[contracts.ID]*servedTable{}, fetched: map[contracts.Hash]*openedTable{}}
	l.ctx, l.stop = context.WithCancel(context.Background())
	defer func() {
		if err != nil {
			l.close()
		}
	}()
	for _, d := range []string{"tables", "fetched", "asked", "scratch"} {
		if err := os.MkdirAll(filepath.Join(l.dir, d), 0o700); err != nil {
			return nil, fmt.Errorf("couldn't make the folder of lookups: %w", err)
		}
	}
	if l.box, err = newStrongbox(n.keys.Seal, "lookup"); err != nil {
		return nil, err
	}
	if err := l.clear(); err != nil {
		return nil, err
	}
	if l.spent, err = openSpentTickets(filepath.Join(l.dir, "tickets.db"), n.now); err != nil {
		return nil, err
	}
	if l.asked, err = openHistories(filepath.Join(l.dir, "history.db"), l.box); err != nil {
		return nil, err
	}
	n.lookups = l
	return &mode{
		answers: map[policy.Operation]operation{policy.PrivateLookup: l.evaluatePrivate, policy.ConsentLookup: l.evaluateConsented},
		beside:  map[string]besideHandler{"lookup": l.serveTable},
		peer:    func(m *http.ServeMux) { m.HandleFunc("POST /tickets", l.serveTicket) },
		local:   l.local,
		close:   l.close,
	}, nil
}

func (l *lookups) local(m *http.ServeMux) {
	m.HandleFunc("POST /v1/lookups", l.localAsk)
	m.HandleFunc("POST /v1/lookup-tables", l.localBuild)
	m.HandleFunc("GET /v1/lookup-tables/{id}", l.localBuilding)
	m.HandleFunc("POST /v1/lookup-tables/fetch", l.localFetch)
	m.HandleFunc("POST /v1/company-histories", l.localHistory)
}

// clear removes what a crash left, and questions whose answers nobody can ask for any more.
func (l *lookups) clear() error {
	for _, pattern := range []string{"tables/tmp-*", "asked/tmp-*", "scratch/*"} {
		files, err := filepath.Glob(filepath.Join(l.dir, pattern))
		if err != nil {
			return err
		}
		for _, f := range files {
			if err := os.Remove(f); err != nil {
				return fmt.Errorf("couldn't clear the folder of lookups: %w", err)
			}
		}
	}
	return l.forgetAsked()
}

func (l *lookups) close() error {
	l.stop()
	l.behind.Wait()
	var errs []error
	if l.spent != nil {
		errs = append(errs, l.spent.close())
	}
	if l.asked != nil {
		errs = append(errs, l.asked.close())
	}
	for _, f := range l.files {
		errs = append(errs, f.Close())
	}
	return errors.Join(errs...)
}

// openTable reads a table and gives it when it is the committed one. Whoever calls holds opening.
func (l *lookups) openTable(ctx context.Context, path string, c *lookup.Commitment) (*openedTable, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	st, err := f.Stat()
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("couldn't read table: %w", err)
	}
	t, err := lookup.OpenTable(ctx, f, st.Size(), c)
	if err != nil {
		f.Close()
		return nil, err
	}
	l.files = append(l.files, f)
	return &openedTable{t, f}, nil
}

// product is what the followed ledger says of a version and its table.
type lookupProduct struct {
	version *contracts.Version
	table   *contracts.LookupTable // nil while none is committed
	dataset *contracts.Dataset     // as reported last
	nodes   map[contracts.ID]party // in service, that the table names
}

func (l *lookups) product(version contracts.ID) (p lookupProduct, err error) {
	l.n.follower.View(func(v follow.View) {
		p.version = read[contracts.Version](v, contracts.KeyVersion(version))
		p.table = read[contracts.LookupTable](v, contracts.KeyLookup(version))
		p.dataset = read[contracts.Dataset](v, contracts.KeyDataset(version))
		if p.table == nil {
			return
		}
		p.nodes = map[contracts.ID]party{}
		for _, id := range []contracts.ID{p.table.Node, p.table.ConsentNode} {
			x := read[contracts.Node](v, contracts.KeyNode(id))
			if x == nil || x.Retired != 0 {
				continue
			}
			if k := read[contracts.Key](v, contracts.KeyKey(x.ReceiptKey)); k != nil {
				p.nodes[id] = party{id, x.URL, k.Key, x.Since}
			}
		}
	})
	if p.version == nil {
		return p, &contracts.Refusal{Code: "version.unknown", Detail: "this node has followed no product version with this id"}
	}
	return p, nil
}

// committed is the product's commitment.
func (p *lookupProduct) committed(version contracts.ID) (*lookup.Commitment, error) {
	if p.table == nil {
		return nil, &contracts.Refusal{Code: "lookup.none", Detail: "no lookup table is committed for the product"}
	}
	return lookup.ReadCommitment(version, p.table)
}

// fields are those of a table's rows: all that the product has, in ascending order.
func (p *lookupProduct) fields() []string {
	return slices.Sorted(slices.Values(p.version.Facts.Fields))
}

// sameFields reports whether a request is for whole rows.
func (p *lookupProduct) sameFields(fields []string) bool {
	return slices.Equal(slices.Sorted(slices.Values(fields)), p.fields())
}

const lookupFieldsDetail = "a lookup opens whole rows: fields are all that the product has"

// tableName is what a provider's table and its key are called. The key's name keeps two builds of one epoch apart, of
// which the ledger takes one.
func (l *lookups) tableName(c *lookup.Commitment) string {
	return filepath.Join(l.dir, "tables", fmt.Sprintf("%s.%d.%x", c.Version, c.Epoch, c.PublicKey[:8]))
}

// forgetEpochs destroys a folder's files of a version's epochs before this one.
func forgetEpochs(dir string, version contracts.ID, epoch int64) error {
	files, err := filepath.Glob(filepath.Join(dir, string(version)+".*"))
	if err != nil {
		return err
	}
	for _, f := range files {
		var e int64
		if _, err := fmt.Sscanf(strings.TrimPrefix(filepath.Base(f), string(version)+"."), "%d.", &e); err != nil || e >= epoch {
			continue
		}
		if err := os.Remove(f); err != nil {
			return fmt.Errorf("couldn't destroy what has ended: %w", err)
		}
	}
	return syncDir(dir)
}
