package services

import (
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// secret gives the password kept in the file at path, which only its owner may
// read, making one of 128 random bits the first time.
func secret(path string) (string, error) {
	kept, err := os.ReadFile(path)
	if err == nil {
		return strings.TrimSpace(string(kept)), nil
	}
	if !errors.Is(err, os.ErrNotExist) {
		return "", fmt.Errorf("read the password: %w", err)
	}
	if err := makeFolder(filepath.Dir(path)); err != nil {
		return "", err
	}
	made := rand.Text()
	if err := os.WriteFile(path, []byte(made+"\n"), 0o600); err != nil {
		return "", fmt.Errorf("keep the password: %w", err)
	}
	return made, nil
}
