package rest

import (
	"context"
	"errors"
	"net/url"
	"strconv"
	"time"

	"github.com/labstack/echo/v4"
)

// Projection is what reads are answered from. Both methods are safe for concurrent use.
type Projection interface {
	// Projected is the number of entries that reads are certain to see now.
	Projected() uint64
	// WaitFor returns once the entry at a position is projected, or ctx's error when that comes first.
	WaitFor(ctx context.Context, position uint64) error
}

// waitWithin is how long a read waits for its min_position.
const waitWithin = 5 * time.Second

// errBehind is a read that wants an entry which is not projected yet.
var errBehind = errors.New("the projection doesn't hold this position yet")

// headerPosition names the newest entry that an answer is certain to hold.
const headerPosition = "Ledger-Position"

// waitFor makes a read that names min_position wait for it. All reads that take it say what position they had.
func (n *conformance) waitFor(c echo.Context, query url.Values) error {
	route := n.routes[c.Request().Method+" "+c.Path()]
	if !n.params[route.Operation]["min_position"] {
		return nil
	}
	ctx := c.Request().Context()
	var height uint64
	if v := query.Get("min_position"); v != "" {
		position, err := strconv.ParseUint(v, 10, 53)
		if err != nil {
			return errInvalid
		}
		wait, cancel := context.WithTimeout(ctx, waitWithin)
		defer cancel()
		if n.ledger != nil {
			h, err := n.ledger.Height(ctx)
			if err != nil {
				return err
			}
			if position >= h && !n.shared {
				return errBehind // it may never come: nobody holds a connection for it
			}
			if position >= h && n.ledger.Wait(wait, position) != nil && ctx.Err() == nil {
				return errBehind
			}
		}
		if err := n.projection.WaitFor(wait, position); err != nil {
			if wait.Err() != nil && ctx.Err() == nil {
				return errBehind
			}
			return err
		}
		height = position + 1
	}
	// Another process may project: this one may know of fewer entries than it has just waited for.
	if height = max(height, n.projection.Projected()); height > 0 {
		c.Response().Header().Set(headerPosition, strconv.FormatUint(height-1, 10))
		Event(ctx).At(height - 1)
	}
	return nil
}
