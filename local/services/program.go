package services

import (
	_ "embed"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// errNotInstalled says that a server's program is missing.
var errNotInstalled = errors.New(
	"not installed: run local/install.sh as root, or use Docker (DEPS=compose), or set GRAF_DATABASE_URL, GRAF_REDIS_URL or GRAF_S3_ENDPOINT to one that exists")

// findPostgres gives the folder of Postgres's programs: those of the given
// major version, or when it is empty the newest. local/install.sh looks in the
// same places in the same order.
func findPostgres(version string) (string, error) {
	folders, _ := filepath.Glob("/usr/lib/postgresql/*/bin") // the pattern is well formed
	slices.SortFunc(folders, func(a, b string) int { return majorOf(b) - majorOf(a) })
	for _, folder := range folders {
		if _, err := os.Stat(filepath.Join(folder, "postgres")); err != nil {
			continue // its server package was removed
		}
		if version == "" || version == strconv.Itoa(majorOf(folder)) {
			return folder, nil
		}
	}
	if version != "" && len(folders) > 0 {
		return "", fmt.Errorf("the data folder was made by Postgres %s, which is no longer installed: install it, or move the data folder away", version)
	}
	program, err := exec.LookPath("postgres")
	if err != nil {
		return "", fmt.Errorf("the program postgres is %w", errNotInstalled)
	}
	if program, err = filepath.EvalSymlinks(program); err != nil {
		return "", fmt.Errorf("find Postgres: %w", err)
	}
	return filepath.Dir(program), nil
}

// majorOf reads the version in /usr/lib/postgresql/15/bin; 0 when there is none.
func majorOf(folder string) int {
	major, _ := strconv.Atoi(filepath.Base(filepath.Dir(folder)))
	return major
}

func findRedis() (string, error) {
	program, err := exec.LookPath("redis-server")
	if err != nil {
		return "", fmt.Errorf("the program redis-server is %w", errNotInstalled)
	}
	return program, nil
}

// versitygwVersion is the release that local/install.sh builds.
//
//go:embed versitygw.version
var versitygwVersion string

func findVersitygw() (string, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("find the cache folder: %w", err)
	}
	version := strings.TrimSpace(versitygwVersion)
	program := filepath.Join(cache, "graf", "bin", "versitygw-"+version, "versitygw")
	if _, err := os.Stat(program); err != nil {
		return "", fmt.Errorf("the program versitygw %s is %w", version, errNotInstalled)
	}
	return program, nil
}

// environment is what a server's program gets to see of this process's
// environment, which may hold other programs' secrets and settings.
func environment(additions ...string) []string {
	return append([]string{"PATH=" + os.Getenv("PATH"), "LANG=C.UTF-8"}, additions...)
}
