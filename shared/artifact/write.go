package artifact

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"

	"github.com/minio/minio-go/v7"
)

const (
	// smallObject is what is sent in one request, in bytes. Most logs are.
	smallObject = 64 << 10
	// partSize is the memory that a longer object takes, which is sent in parts: the least that S3 takes, in bytes.
	partSize = 5 << 20
)

// Written is what Write has stored.
type Written struct {
	Size   int64
	SHA256 []byte
}

// Write stores all that content gives, whose length need not be known, without holding it in memory as a whole. An
// object of this key is replaced. It fails with ErrUnavailable if the store is away, and with content's own error, of
// which nothing is stored then.
func (s *Store) Write(ctx context.Context, key, contentType string, content io.Reader) (Written, error) {
	hash := sha256.New()
	source := &failing{from: io.TeeReader(content, hash)}
	begin := make([]byte, smallObject)
	n, err := io.ReadFull(source, begin)
	options := minio.PutObjectOptions{ContentType: contentType}
	var body io.Reader = bytes.NewReader(begin[:n])
	size := int64(n)
	switch {
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF): // all of it
	case err != nil:
		return Written{}, fmt.Errorf("write %s: %w", key, err)
	default:
		body, size, options.PartSize = io.MultiReader(body, source), -1, partSize
	}
	info, err := s.client.PutObject(ctx, s.config.Bucket, key, body, size, options)
	if source.err != nil {
		return Written{}, fmt.Errorf("write %s: %w", key, source.err)
	}
	if err != nil {
		return Written{}, storeError("write", key, err)
	}
	return Written{Size: info.Size, SHA256: hash.Sum(nil)}, nil
}

// Remove removes an object. One that is not there is no error.
func (s *Store) Remove(ctx context.Context, key string) error {
	if err := s.client.RemoveObject(ctx, s.config.Bucket, key, minio.RemoveObjectOptions{}); err != nil {
		return storeError("remove", key, err)
	}
	return nil
}

// failing keeps a reader's error, which else could not be told from the store's.
type failing struct {
	from io.Reader
	err  error
}

func (f *failing) Read(to []byte) (int, error) {
	n, err := f.from.Read(to)
	if err != nil && !errors.Is(err, io.EOF) {
		f.err = err
	}
	return n, err
}
