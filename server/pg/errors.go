package pg

import (
	"context"
	"database/sql/driver"
	"errors"
	"io"
	"net"
	"syscall"

	"github.com/lib/pq"
)

// code gives the SQLSTATE of an error that the server answered, "" of every other.
func code(err error) string {
	var e *pq.Error
	if errors.As(err, &e) {
		return string(e.Code)
	}
	return ""
}

// lost reports that an error took the connection with it, so that nothing more will be heard of what it carried.
func lost(err error) bool {
	var e *pq.Error
	return !errors.As(err, &e) || e.Severity != "ERROR"
}

// IsUnique reports that a row was refused because of a unique constraint. With names, only of one of these.
func IsUnique(err error, constraints ...string) bool {
	var e *pq.Error
	if !errors.As(err, &e) || e.Code != "23505" {
		return false
	}
	for _, c := range constraints {
		if e.Constraint == c {
			return true
		}
	}
	return len(constraints) == 0
}

// IsForeignKey reports that a row names another that is not there, or is still named by others.
func IsForeignKey(err error) bool { return code(err) == "23503" }

// IsCheck reports that a row was refused by a check constraint: a mistake of the program, or a rule of a table.
func IsCheck(err error) bool { return code(err) == "23514" }

// IsConflict reports that a transaction lost against another and may be run again as it was: a serialization failure,
// a deadlock, or a lock that was not available.
func IsConflict(err error) bool {
	switch code(err) {
	case "40001", "40P01", "55P03":
		return true
	}
	return false
}

// IsUnavailable reports that the database can't be reached, is starting or ending, or takes no more connections: worth
// trying again later. The outcome of a commit is not among these, see ErrCommitUnknown.
func IsUnavailable(err error) bool {
	if err == nil || errors.Is(err, ErrCommitUnknown) || errors.Is(err, context.Canceled) {
		return false
	}
	if c := code(err); c != "" {
		return c[:2] == "08" || c[:2] == "57" && c != "57014" || c[:2] == "53"
	}
	var op *net.OpError
	return errors.Is(err, driver.ErrBadConn) || errors.As(err, &op) || errors.Is(err, io.ErrUnexpectedEOF) ||
		errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, syscall.ENOENT)
}
