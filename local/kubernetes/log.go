package kubernetes

import (
	"errors"
	"io"
	"os"
	"strings"
	"sync"
)

// tailBytes is how much of a log becomes the termination message, as in Kubernetes.
const tailBytes = 2048

// rotated is the suffix of the older half of a log.
const rotated = ".1"

// podLog keeps the newest output of a process in two files, each at most half of the limit, and the very end in memory.
// No file is made for a process that says nothing. A write never fails: the process must not block or die when the disk
// is full.
type podLog struct {
	path  string
	limit int64

	mu   sync.Mutex
	file *os.File
	size int64
	end  []byte
}

func newLog(path string, limit int64) *podLog { return &podLog{path: path, limit: limit} }

// Write implements io.Writer.
func (l *podLog) Write(data []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.remember(data)
	for rest := data; len(rest) > 0; {
		if l.file == nil || l.size >= l.limit/2 {
			l.rotate()
		}
		if l.file == nil {
			break
		}
		part := rest[:min(int64(len(rest)), max(l.limit/2-l.size, 1))]
		n, err := l.file.Write(part)
		l.size += int64(n)
		if err != nil {
			break
		}
		rest = rest[len(part):]
	}
	return len(data), nil
}

func (l *podLog) remember(data []byte) {
	if len(data) >= tailBytes {
		l.end = append(l.end[:0], data[len(data)-tailBytes:]...)
		return
	}
	if surplus := len(l.end) + len(data) - tailBytes; surplus > 0 {
		l.end = append(l.end[:0], l.end[surplus:]...)
	}
	l.end = append(l.end, data...)
}

func (l *podLog) rotate() {
	if l.file != nil {
		_ = l.file.Close()
		_ = os.Rename(l.path, l.path+rotated)
	}
	l.file, _ = os.OpenFile(l.path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	l.size = 0
}

// close must be called when the process has ended.
func (l *podLog) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.file != nil {
		_ = l.file.Close()
	}
}

// tail is the end of the output as text.
func (l *podLog) tail() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.ToValidUTF8(string(l.end), "\uFFFD")
}

// copyLog writes what is kept of a log, the older half first. A log that does not exist is empty.
func copyLog(to io.Writer, path string) error {
	for _, name := range []string{path + rotated, path} {
		file, err := os.Open(name)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		_, err = io.Copy(to, file)
		_ = file.Close()
		if err != nil {
			return err
		}
	}
	return nil
}
