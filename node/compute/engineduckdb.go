//go:build cgo && (amd64 || arm64)

package compute

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unsafe"

	"github.com/duckdb/duckdb-go/v2/mapping"
)

// duckEngine answers a program by DuckDB: one statement for the figures, one for who stands behind them. No text of a
// query reaches a statement: columns are numbers, values are bound.
func duckEngine(path string, p *program, limits engineLimits) (*exact, error) {
	db, err := openDuck(path, limits)
	if err != nil {
		return nil, err
	}
	defer db.close()
	g, err := db.figures(path, p)
	if err != nil {
		return nil, err
	}
	c, counted, err := db.cohorts(path, p, g)
	if err != nil {
		return nil, err
	}
	// Both statements read one immutable file. Should they ever disagree, no figure is worth giving.
	for i := range g.cells {
		if counted[i] != g.cells[i].rows {
			return nil, errDisagree
		}
	}
	return g.finish(c), nil
}

var errDisagree = errors.New("two statements over one table disagree")

type duck struct {
	db   mapping.Database
	conn mapping.Connection
}

// openDuck opens a database in memory that reads one file and can't be unlocked again.
func openDuck(path string, limits engineLimits) (_ *duck, err error) {
	d := new(duck)
	var cfg mapping.Config
	if mapping.CreateConfig(&cfg) == mapping.StateError {
		return nil, errors.New("couldn't configure DuckDB")
	}
	defer mapping.DestroyConfig(&cfg)
	for _, s := range [][2]string{{"threads", strconv.Itoa(limits.threads)}, {"memory_limit", strconv.Itoa(limits.memoryMB) + "MB"}, {"temp_directory", ""},
		{"autoinstall_known_extensions", "false"}, {"autoload_known_extensions", "false"}} {
		if mapping.SetConfig(cfg, s[0], s[1]) == mapping.StateError {
			return nil, fmt.Errorf("couldn't set %s of DuckDB", s[0])
		}
	}
	var message string
	if mapping.OpenExt("", &d.db, cfg, &message) == mapping.StateError {
		return nil, fmt.Errorf("couldn't open DuckDB: %s", message)
	}
	defer func() {
		if err != nil {
			d.close()
		}
	}()
	if mapping.Connect(d.db, &d.conn) == mapping.StateError {
		return nil, errors.New("couldn't connect to DuckDB")
	}
	for _, s := range []string{"SET allowed_paths=['" + path + "']", "SET enable_external_access=false", "SET lock_configuration=true"} {
		if err := d.query(s, nil, nil); err != nil {
			return nil, err
		}
	}
	return d, nil
}

func (d *duck) close() {
	if d.conn.Ptr != nil {
		mapping.Disconnect(&d.conn)
	}
	mapping.Close(&d.db)
}

// query runs one statement and hands over its chunks, which are valid during the call.
func (d *duck) query(sql string, values []any, f func(chunk mapping.DataChunk, n int) error) error {
	var stmt mapping.PreparedStatement
	defer mapping.DestroyPrepare(&stmt)
	if mapping.Prepare(d.conn, sql, &stmt) == mapping.StateError {
		return fmt.Errorf("couldn't prepare statement: %s", mapping.PrepareError(stmt))
	}
	for i, v := range values {
		state := mapping.StateError
		switch v := v.(type) {
		case int32:
			state = mapping.BindInt32(stmt, mapping.IdxT(i+1), v)
		case int64:
			state = mapping.BindInt64(stmt, mapping.IdxT(i+1), v)
		}
		if state == mapping.StateError {
			return fmt.Errorf("couldn't bind value %d", i+1)
		}
	}
	var pending mapping.PendingResult
	defer mapping.DestroyPending(&pending)
	if mapping.PendingPrepared(stmt, &pending) == mapping.StateError {
		return errors.New("couldn't start statement")
	}
	var res mapping.Result
	defer mapping.DestroyResult(&res)
	if mapping.ExecutePending(pending, &res) == mapping.StateError {
		return fmt.Errorf("couldn't run statement: %s", mapping.ResultError(&res))
	}
	for f != nil {
		chunk := mapping.FetchChunk(res)
		if chunk.Ptr == nil {
			break
		}
		err := f(chunk, int(mapping.DataChunkGetSize(chunk)))
		mapping.DestroyDataChunk(&chunk)
		if err != nil {
			return err
		}
	}
	return nil
}

// vector gives a column of a chunk, which DuckDB hands out flat. None of ours has a null.
func vector[T int32 | int64](chunk mapping.DataChunk, column, n int) []T {
	return unsafe.Slice((*T)(mapping.VectorGetData(mapping.DataChunkGetVector(chunk, mapping.IdxT(column)))), n)
}

// statement is SQL in the making, with the values to bind.
type statement struct {
	strings.Builder
	values []any
}

// bind puts a value in the statement, in the width of the column that it meets.
func (s *statement) bind(v int64, wide bool) string {
	if wide {
		s.values = append(s.values, v)
	} else {
		s.values = append(s.values, int32(v))
	}
	return "?"
}

func (p *program) keys() string {
	names := make([]string, len(p.Groups))
	for i, c := range p.Groups {
		names[i] = columnName(int(c))
	}
	return strings.Join(names, ", ")
}

// from writes what both statements have in common: which rows count.
func (s *statement) from(path string, p *program) {
	fmt.Fprintf(s, " FROM read_parquet('%s') WHERE %s < %s", path, rankName, s.bind(min(p.RowsPerSubject, maxRowsOfSubject), false))
	for _, c := range p.Conditions {
		shape, name := p.Shapes[c.Column], columnName(int(c.Column))
		none := func(op string) string { return " AND " + name + op + s.bind(shape.empty(), shape.Wide) }
		if c.Operator == Empty {
			s.WriteString(none(" = "))
			continue
		}
		if shape.Nullable {
			s.WriteString(none(" <> "))
		}
		switch op := sqlOperators[c.Operator]; {
		case op != "":
			fmt.Fprintf(s, " AND %s %s %s", name, op, s.bind(c.Values[0], shape.Wide))
		case c.Operator == In:
			binds := make([]string, len(c.Values))
			for i, v := range c.Values {
				binds[i] = s.bind(v, shape.Wide)
			}
			fmt.Fprintf(s, " AND %s IN (%s)", name, strings.Join(binds, ", "))
		}
	}
}

var sqlOperators = map[Operator]string{Equal: "=", Unequal: "<>", Less: "<", LessEqual: "<=", Greater: ">", GreaterEqual: ">="}

func (d *duck) figures(path string, p *program) (*grouper, error) {
	s := new(statement)
	s.WriteString("SELECT ")
	if len(p.Groups) > 0 {
		s.WriteString(p.keys() + ", ")
	}
	s.WriteString("count(*)")
	for _, c := range p.Sums {
		name := columnName(int(c.Column))
		fmt.Fprintf(s, ", CAST(COALESCE(sum(LEAST(GREATEST(%s, %s), %s)), 0) AS BIGINT)", name, s.bind(c.Lower, true), s.bind(c.Upper, true))
		if p.Shapes[c.Column].Nullable {
			fmt.Fprintf(s, ", count(*) FILTER (WHERE %s = %s)", name, s.bind(emptyWide, true))
		}
	}
	s.from(path, p)
	if len(p.Groups) > 0 {
		fmt.Fprintf(s, " GROUP BY %s LIMIT %d", p.keys(), maxCells+1)
	}
	g := newGrouper(p)
	keys := make([]int64, len(p.Groups))
	err := d.query(s.String(), s.values, func(chunk mapping.DataChunk, n int) error {
		for i := range n {
			at := len(keys)
			keysAt(chunk, p, n, i, keys)
			cell, err := g.add(keys)
			if err != nil {
				return err
			}
			x := &g.cells[cell]
			x.rows = vector[int64](chunk, at, n)[i]
			for k, c := range p.Sums {
				at++
				x.sums[k] = exactSum{vector[int64](chunk, at, n)[i], x.rows}
				if p.Shapes[c.Column].Nullable {
					at++
					none := vector[int64](chunk, at, n)[i]
					x.sums[k].rows -= none
					x.sums[k].total -= none * c.Lower // an empty field is below every bound, so it was summed as that
				}
			}
		}
		return nil
	})
	return g, err
}

func keysAt(chunk mapping.DataChunk, p *program, n, i int, keys []int64) {
	for k, c := range p.Groups {
		if p.Shapes[c].Wide {
			keys[k] = vector[int64](chunk, k, n)[i]
		} else {
			keys[k] = int64(vector[int32](chunk, k, n)[i])
		}
	}
}

// cohorts gives who stands behind the cells, and how many rows each has by this statement.
func (d *duck) cohorts(path string, p *program, g *grouper) (*cohorts, []int64, error) {
	s := new(statement)
	s.WriteString("SELECT ")
	if len(p.Groups) > 0 {
		s.WriteString(p.keys() + ", ")
	}
	s.WriteString(subjectName)
	s.from(path, p)
	c, counted := new(cohorts), make([]int64, len(g.cells))
	c.expect(g.cells, p.Subjects)
	columns := make([]numbers, len(p.Groups))
	keys := make([]int64, len(p.Groups))
	err := d.query(s.String(), s.values, func(chunk mapping.DataChunk, n int) error {
		for k, col := range p.Groups {
			if p.Shapes[col].Wide {
				columns[k].wide = vector[int64](chunk, k, n)
			} else {
				columns[k].narrow = vector[int32](chunk, k, n)
			}
		}
		near := len(keys) == 1 && columns[0].wide == nil
		for i, subject := range vector[int32](chunk, len(keys), n) {
			cell := 0
			if near && uint32(columns[0].narrow[i]) < nearKeys { // what most queries have
				cell = int(g.near[columns[0].narrow[i]]) - 1
			} else if len(keys) > 0 {
				for k := range keys {
					keys[k] = columns[k].at(i)
				}
				cell = g.find(keys)
			}
			if cell < 0 {
				return errDisagree
			}
			counted[cell]++
			c.add(uint32(subject), cell)
		}
		return nil
	})
	return c, counted, err
}
