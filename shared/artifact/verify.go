package artifact

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"

	"github.com/minio/minio-go/v7"
)

var (
	// ErrMissing says that nothing was uploaded, or not yet.
	ErrMissing = errors.New("the artifact was not uploaded")
	// ErrSizeMismatch says that what was uploaded is longer or shorter than announced.
	ErrSizeMismatch = errors.New("the artifact has another size than announced")
	// ErrDigestMismatch says that other bytes were uploaded than announced.
	ErrDigestMismatch = errors.New("the artifact has another sha256 than announced")
	// ErrSlow says that there was not the time to read the artifact to its end.
	ErrSlow = errors.New("the artifact could not be read in time to check its sha256")
	// ErrUnavailable says that object storage did not answer, or with a fault of its own.
	ErrUnavailable = errors.New("object storage is away")
	// ErrRefused says that object storage does not do what it was asked to, which is no fault of its own: Graf lacks a
	// permission, as a rule. Without s3:ListBucket, AWS refuses to look up what is not there.
	ErrRefused = errors.New("object storage refuses")
)

// Verify checks that an upload has the announced size and SHA-256 (in hexadecimal). It takes the store's own checksum
// where the store has one, and reads the object otherwise: one that was uploaded in parts is always read. If the context
// ends while its bytes come, that fails with ErrSlow.
func (s *Store) Verify(ctx context.Context, key string, size int64, sha256 string) error {
	checksum, err := base64Of(sha256)
	if err != nil {
		return err
	}
	object, err := s.client.StatObject(ctx, s.config.Bucket, key, minio.StatObjectOptions{Checksum: true})
	if err != nil {
		return storeError("look up", key, err)
	}
	if object.Size != size {
		return fmt.Errorf("%s has %d bytes, announced were %d: %w", key, object.Size, size, ErrSizeMismatch)
	}
	// The checksum of an object that was uploaded in parts is one of checksums. It reads "…-2", or says COMPOSITE.
	if object.ChecksumSHA256 == "" || object.ChecksumMode == "COMPOSITE" || len(object.ChecksumSHA256) != len(checksum) {
		return s.verifyBytes(ctx, key, size, sha256, object.ETag)
	}
	if object.ChecksumSHA256 != checksum {
		return fmt.Errorf("%s: %w", key, ErrDigestMismatch)
	}
	return nil
}

// verifyBytes hashes the object, at most one byte more than announced.
func (s *Store) verifyBytes(ctx context.Context, key string, size int64, want, etag string) error {
	var options minio.GetObjectOptions
	if etag != "" { // The very object that was looked up, should another be uploaded meanwhile.
		if err := options.SetMatchETag(etag); err != nil {
			return fmt.Errorf("read %s: %w", key, err)
		}
	}
	object, err := s.client.GetObject(ctx, s.config.Bucket, key, options)
	if err != nil {
		return storeError("read", key, err)
	}
	defer func() { _ = object.Close() }() // Reading has told of every error that matters.
	hash := sha256.New()
	read, err := io.Copy(hash, io.LimitReader(object, size+1))
	if err != nil && read > 0 && errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return fmt.Errorf("%s: %w: %d of %d bytes", key, ErrSlow, read, size)
	}
	if err != nil {
		return storeError("read", key, err)
	}
	if read != size {
		return fmt.Errorf("%s: %w", key, ErrSizeMismatch)
	}
	if hex.EncodeToString(hash.Sum(nil)) != want {
		return fmt.Errorf("%s: %w", key, ErrDigestMismatch)
	}
	return nil
}

func storeError(verb, key string, err error) error {
	if err == nil {
		return nil
	}
	switch code := minio.ToErrorResponse(err).StatusCode; {
	case code == http.StatusNotFound:
		return fmt.Errorf("%s: %w", key, ErrMissing)
	case code < http.StatusBadRequest || code >= http.StatusInternalServerError || code == http.StatusTooManyRequests:
		return fmt.Errorf("%s %s: %w: %w", verb, key, ErrUnavailable, err)
	}
	return fmt.Errorf("%s %s: %w: %w", verb, key, ErrRefused, err)
}
