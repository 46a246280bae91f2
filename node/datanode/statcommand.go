package main

import (
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"flag"
	"fmt"
	"net/http"
	"os"
	"strconv"
	"strings"

	"github.com/bund-exchange/bund/contracts"
	"github.com/bund-exchange/bund/contracts/policy"
)

// statCommand is datanode stats …, one for each role.
func statCommand(c *command) error {
	does := map[string]func(*command) error{"contribute": contributeValues, "collect": collectBatch, "result": buyResult, "status": taskStatus}
	if len(c.args) == 0 || does[c.args[0]] == nil {
		return &usageError{"want contribute, collect, result or status"}
	}
	do := does[c.args[0]]
	c.args = c.args[1:]
	return do(c)
}

// contributeValues brings a file's values to the aggregators, some thousand at a time. Run again with the same file it
// goes on where it was, and nothing counts twice; --name tells apart two files that happen to hold the same.
func contributeValues(c *command) error {
	var file, task, values, name string
	if err := c.flags(func(fs *flag.FlagSet) {
		fs.StringVar(&file, "config", "", "")
		fs.StringVar(&task, "task", "", "")
		fs.StringVar(&values, "values", "", "")
		fs.StringVar(&name, "name", "", "")
	}, "config", "task", "values"); err != nil {
		return err
	}
	list, digest, err := readValues(values)
	if err != nil {
		return err
	}
	for at := 0; at < len(list); at += maxContributed {
		part := list[at:min(len(list), at+maxContributed)]
		id := contracts.ID(contracts.HashOf("bund/statistics/contribution/v1", []byte(task), []byte{0}, []byte(name), []byte{0}, []byte(digest), strconv.AppendInt(nil, int64(at), 10))[:32])
		var a struct{ Known bool }
		if err := c.patiently(func() error {
			return c.get(file, http.MethodPost, "/v1/statistics/"+task+"/contributions", localContribution{id, part}, &a)
		}); err != nil {
			return err
		}
		was := ""
		if a.Known {
			was = ", known"
		}
		fmt.Fprintf(c.err, "%d of %d reports%s\n", at+len(part), len(list), was)
	}
	return nil
}

// readValues reads one whole number a line. An error names the line, never the value.
func readValues(name string) (list []int64, digest string, err error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, "", fmt.Errorf("couldn't read values: %w", err)
	}
	defer f.Close()
	h := sha256.New()
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		text := strings.TrimSuffix(lines.Text(), "\r")
		v, err := strconv.ParseInt(text, 10, 64)
		if err != nil || strconv.FormatInt(v, 10) != text {
			return nil, "", fmt.Errorf("couldn't read values: line %d is no whole number", len(list)+1)
		}
		list = append(list, v)
		fmt.Fprintln(h, v)
	}
	if err := lines.Err(); err != nil {
		return nil, "", fmt.Errorf("couldn't read values: %w", err)
	}
	if len(list) == 0 {
		return nil, "", fmt.Errorf("couldn't read values: %s holds none", name)
	}
	return list, hex.EncodeToString(h.Sum(nil)), nil
}

func collectBatch(c *command) error {
	file, task, err := c.taskFlags()
	if err != nil {
		return err
	}
	return c.ask(file, http.MethodPost, "/v1/statistics/"+task+"/collect", struct{}{})
}

func taskStatus(c *command) error {
	file, task, err := c.taskFlags()
	if err != nil {
		return err
	}
	return c.ask(file, http.MethodGet, "/v1/statistics/"+task, nil)
}

func (c *command) taskFlags() (file, task string, err error) {
	err = c.flags(func(fs *flag.FlagSet) {
		fs.StringVar(&file, "config", "", "")
		fs.StringVar(&task, "task", "", "")
	}, "config", "task")
	return file, task, err
}

func buyResult(c *command) error {
	var file, agreement, task, fields, purpose string
	var batch int64
	if err := c.flags(func(fs *flag.FlagSet) {
		fs.StringVar(&file, "config", "", "")
		fs.StringVar(&agreement, "agreement", "", "")
		fs.StringVar(&task, "task", "", "")
		fs.StringVar(&fields, "fields", "", "")
		fs.StringVar(&purpose, "purpose", "", "")
		fs.Int64Var(&batch, "batch", 1, "")
	}, "config", "agreement", "task", "fields", "purpose"); err != nil {
		return err
	}
	return c.ask(file, http.MethodPost, "/v1/statistics/results", localResultRequest{Agreement: contracts.ID(agreement), Task: contracts.ID(task), Batch: batch,
		Fields: strings.Split(fields, ","), Purpose: policy.Purpose(purpose)})
}
