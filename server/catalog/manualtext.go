package catalog

import (
	"context"
	"fmt"

	"github.com/jmoiron/sqlx"

	"github.com/bund-exchange/bund/contracts"
)

// Words of a manual are looked up as the shelf's are, in an index of their own: app.manual_texts. A manual may arrive
// after its product was listed, so the shelf, which is made from the ledger alone, can't have them.

// maxManualTerms bounds the index of one manual; the text behind it is not found.
const maxManualTerms = 10_000

// words are all that a manual says to a reader.
func (m *Manual) words() (rs []run) {
	add := func(texts ...string) {
		for _, t := range texts {
			rs = append(rs, runs(t)...)
		}
	}
	both := func(ts ...Text) {
		for _, t := range ts {
			add(t.Zh, t.En)
		}
	}
	both(m.Header.Title, m.Basic.Content)
	add(m.Basic.Keywords...)
	add(m.Basic.Sector, m.Basic.Industry)
	for _, f := range append(m.Dictionary.Fields[:len(m.Dictionary.Fields):len(m.Dictionary.Fields)], m.Inputs...) {
		add(f.Name, f.Title, f.TitleEn, f.Empty, f.EmptyEn)
		for _, c := range f.Codes {
			add(c.Title, c.TitleEn)
		}
	}
	both(m.Physical.Subject, m.AsOf.Rule, m.Conditions.User, m.Conditions.Other, m.Instructions.Access, m.Source.Description, m.Source.Processing, m.Price.Note)
	both(m.Cases...)
	for _, q := range m.Qualifications {
		add(q.Title)
	}
	return rs
}

// putManualText makes a stored manual findable.
func putManualText(ctx context.Context, tx *sqlx.Tx, digest contracts.Hash, content []byte) error {
	m, err := ParseManual(content)
	if err != nil {
		return fmt.Errorf("couldn't read manual %s: %w", digest, err)
	}
	rs := m.words()
	terms := termsOf(rs)
	if _, err := tx.ExecContext(ctx, `INSERT INTO app.manual_texts (digest, haystack, terms) VALUES ($1, $2, $3::bigint[]) ON CONFLICT (digest) DO NOTHING`,
		string(digest), haystackOf(rs), codes(terms[:min(len(terms), maxManualTerms)])); err != nil {
		return fmt.Errorf("couldn't index manual %s: %w", digest, err)
	}
	return nil
}

// IndexManuals makes findable the manuals that a program without this index has stored. It is run at the start and
// finds nothing the next time.
func (c *Catalog) IndexManuals(ctx context.Context) error {
	var todo []struct {
		Digest  contracts.Hash `db:"digest"`
		Content []byte         `db:"content"`
	}
	for {
		const missing = `
SELECT digest, content FROM app.documents d
 WHERE kind = 'manual' AND NOT EXISTS (SELECT FROM app.manual_texts t WHERE t.digest = d.digest) ORDER BY digest LIMIT 100`
		todo = todo[:0]
		if err := c.DB.SelectContext(ctx, &todo, missing); err != nil {
			return fmt.Errorf("couldn't look for manuals: %w", err)
		}
		if len(todo) == 0 {
			return nil
		}
		tx, err := c.DB.BeginTxx(ctx, nil)
		if err != nil {
			return err
		}
		for _, d := range todo {
			if err := putManualText(ctx, tx, d.Digest, d.Content); err != nil {
				tx.Rollback()
				return err
			}
		}
		if err := tx.Commit(); err != nil {
			return fmt.Errorf("couldn't index manuals: %w", err)
		}
	}
}
