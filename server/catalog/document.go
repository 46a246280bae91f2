package catalog

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"unicode/utf8"

	"github.com/jmoiron/sqlx"

	"github.com/bund-exchange/bund/contracts"
	"github.com/bund-exchange/bund/contracts/canon"
	"github.com/bund-exchange/bund/contracts/dictionary"
	"github.com/bund-exchange/bund/server/pg"
	"github.com/bund-exchange/bund/server/projection"
)

// TagDocument is the tag of a document's digest, when its kind has none of its own.
const TagDocument = "bund/document/v1"

// MaxDocumentBytes bounds one document.
const MaxDocumentBytes = 2 << 20

// Kind says what a document is.
type Kind string

const (
	ManualDocument     Kind = "manual"
	DictionaryDocument Kind = "dictionary"
	SampleDocument     Kind = "sample"
	OpinionDocument    Kind = "legal_opinion"
	QualityDocument    Kind = "quality_report"
	ValuationDocument  Kind = "valuation"
	AcceptanceDocument Kind = "acceptance"
	ChecklistDocument  Kind = "checklist"
	OtherDocument      Kind = "other"
)

var kinds = []Kind{ManualDocument, DictionaryDocument, SampleDocument, OpinionDocument, QualityDocument, ValuationDocument,
	AcceptanceDocument, ChecklistDocument, OtherDocument}

// Document is a document whose digest something on the ledger names. A manual and a dictionary are public; another one
// is public when its audience is empty.
type Document struct {
	Kind        Kind
	ContentType string
	Audience    []contracts.ID
	Content     []byte
}

// Digest is what the ledger holds of the document.
func (d *Document) Digest() contracts.Hash {
	tag := TagDocument
	switch d.Kind {
	case ManualDocument:
		tag = TagManual
	case DictionaryDocument:
		tag = dictionary.Tag
	}
	return contracts.HashOf(tag, d.Content)
}

func (d *Document) public() bool { return len(d.Audience) == 0 }

// BadDocument says why a document is not stored. It is the sender's mistake.
type BadDocument struct{ Field, What string }

func (e *BadDocument) Error() string { return e.Field + ": " + e.What }

func (d *Document) check() error {
	if !slices.Contains(kinds, d.Kind) {
		return &BadDocument{"kind", "unknown"}
	}
	if len(d.Content) == 0 || len(d.Content) > MaxDocumentBytes {
		return &BadDocument{"content", fmt.Sprintf("want 1 to %d bytes", MaxDocumentBytes)}
	}
	for _, id := range d.Audience {
		if id.Check() != nil {
			return &BadDocument{"audience", "want member ids"}
		}
	}
	var err error
	switch d.Kind {
	case ManualDocument:
		_, err = ParseManual(d.Content)
	case DictionaryDocument:
		err = canon.Unmarshal(d.Content, new(dictionary.Dictionary))
	default:
		if d.ContentType == "" || len(d.ContentType) > 100 {
			return &BadDocument{"contentType", "want 1 to 100 bytes"}
		}
		if len(d.ContentType) > 5 && d.ContentType[:5] == "text/" && !utf8.Valid(d.Content) {
			return &BadDocument{"content", "text is UTF-8"}
		}
		return nil
	}
	var bad *canon.Error
	switch {
	case errors.As(err, &bad):
		return &BadDocument{"content." + bad.Field, bad.What}
	case err != nil:
		return &BadDocument{"content", err.Error()}
	case !d.public():
		return &BadDocument{"audience", "a manual and a dictionary are for all"}
	}
	d.ContentType = "application/json"
	return nil
}

// PutDocument stores a document for a member and gives its digest. It is durable on return: what names it on the ledger
// may be submitted then. A document that is there stays as it is: a public one does not become private, and only its
// owner makes a private one known to others. Who stores it again has it, and may read it.
func (c *Catalog) PutDocument(ctx context.Context, owner contracts.ID, d *Document) (contracts.Hash, error) {
	if err := d.check(); err != nil {
		return "", err
	}
	digest := d.Digest()
	return digest, pg.WithTx(ctx, c.DB, func(tx *sqlx.Tx) error {
		const put = `
INSERT INTO app.documents AS old (digest, kind, content_type, owner, public, audience, content)
VALUES ($1, $2, $3, $4, $5, $6::text[], $7)
ON CONFLICT (digest) DO UPDATE
   SET public = old.public OR EXCLUDED.public AND old.owner = EXCLUDED.owner,
       audience = ARRAY(SELECT DISTINCT a FROM unnest(old.audience || EXCLUDED.owner ||
                          CASE WHEN old.owner = EXCLUDED.owner THEN EXCLUDED.audience END) AS a ORDER BY a)`
		_, err := tx.ExecContext(ctx, put, string(digest), string(d.Kind), d.ContentType, string(owner), d.public(),
			projection.Array(d.Audience), d.Content)
		if err != nil {
			return fmt.Errorf("couldn't store document %s: %w", digest, err)
		}
		if d.Kind == ManualDocument {
			return putManualText(ctx, tx, digest, d.Content)
		}
		return nil
	})
}

// Document gives a document to a reader of its audience; to others it does not exist.
func (c *Catalog) Document(ctx context.Context, r projection.Reader, digest contracts.Hash) (*Document, error) {
	var rows []struct {
		Kind        Kind         `db:"kind"`
		ContentType string       `db:"content_type"`
		Owner       contracts.ID `db:"owner"`
		Public      bool         `db:"public"`
		Allowed     bool         `db:"allowed"`
		Content     []byte       `db:"content"`
	}
	const get = `SELECT kind, content_type, owner, public, $2 = ANY(audience) AS allowed, content FROM app.documents WHERE digest = $1`
	if err := sqlx.SelectContext(ctx, c.DB, &rows, get, string(digest), string(r.Member)); err != nil {
		return nil, fmt.Errorf("couldn't read document %s: %w", digest, err)
	}
	if len(rows) == 0 {
		return nil, projection.ErrNotFound
	}
	d := rows[0]
	if !d.Public && !(r.Member != "" && d.Allowed) && !r.May(d.Owner) {
		return nil, projection.ErrNotFound
	}
	out := &Document{Kind: d.Kind, ContentType: d.ContentType, Content: d.Content}
	if got := out.Digest(); got != digest {
		return nil, fmt.Errorf("document %s was altered in the store: it has the digest %s", digest, got)
	}
	return out, nil
}

// Manual gives a product's manual.
func (c *Catalog) Manual(ctx context.Context, digest contracts.Hash) (*Manual, error) {
	d, err := c.Document(ctx, projection.Reader{}, digest)
	if err != nil {
		return nil, err
	}
	if d.Kind != ManualDocument {
		return nil, projection.ErrNotFound
	}
	return ParseManual(d.Content)
}
