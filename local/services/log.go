package services

import (
	"bytes"
	"fmt"
	"io"
	"os"
)

const (
	// maxLog is the size in bytes at which a log is set aside when its server
	// starts again.
	maxLog = 16 << 20
	// maxTail is how much of a log, in bytes, an error shows.
	maxTail = 2 << 10
)

// childLog is the file that a child writes its output to.
type childLog struct {
	file  *os.File
	path  string
	start int64 // where this run's part begins
}

func openLog(path string) (*childLog, error) {
	if info, err := os.Stat(path); err == nil && info.Size() > maxLog {
		if err := os.Rename(path, path+".1"); err != nil {
			return nil, fmt.Errorf("set the old log aside: %w", err)
		}
	}
	file, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open the log: %w", err)
	}
	start, err := file.Seek(0, io.SeekEnd)
	if err != nil {
		return nil, fmt.Errorf("find the end of the log: %w", err)
	}
	return &childLog{file: file, path: path, start: start}, nil
}

// tail gives the end of this run's part of the log, ready to follow an error.
func (l *childLog) tail() string {
	file, err := os.Open(l.path)
	if err != nil {
		return ""
	}
	defer func() { _ = file.Close() }()
	size, err := file.Seek(0, io.SeekEnd)
	if err != nil || size <= l.start {
		return ""
	}
	text := make([]byte, min(size-l.start, maxTail))
	if _, err := file.ReadAt(text, size-int64(len(text))); err != nil {
		return ""
	}
	return fmt.Sprintf("\nthe end of %s:\n%s", l.path, bytes.TrimSpace(text))
}
