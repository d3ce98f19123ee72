package auth

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"strings"
)

// taskTokenPrefix lets people and secret scanners see what a token is.
const taskTokenPrefix = "graf_task_"

// taskTokenBytes is the randomness of a task's token.
const taskTokenBytes = 32

// NewTaskToken makes a task's token and the hash to store. The token itself is
// stored nowhere.
func NewTaskToken() (token string, hash []byte) {
	var random [taskTokenBytes]byte
	// rand.Read never fails; it ends the program where the system has no randomness.
	_, _ = rand.Read(random[:])
	token = taskTokenPrefix + base64.RawURLEncoding.EncodeToString(random[:])
	return token, HashToken(token)
}

// HashToken is the SHA-256 of a token. A token is random and long, so that
// neither salt nor stretching would add to it.
func HashToken(token string) []byte {
	hash := sha256.Sum256([]byte(token))
	return hash[:]
}

// IsTaskToken says whether token looks like one of NewTaskToken's; whether it
// is good, and for which task, the database says.
func IsTaskToken(token string) bool {
	return strings.HasPrefix(token, taskTokenPrefix)
}
