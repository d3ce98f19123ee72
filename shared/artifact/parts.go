package artifact

import (
	"context"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/s3utils"
)

// UploadPartSize is that of each part of an upload in parts but the last, in bytes. 320 of them are the most that an
// artifact may have.
const UploadPartSize = 16 << 20

// listed is the most that is asked for in one page: S3's own bound.
const listed = 1000

// ErrIncomplete says that parts of an upload are missing, or have another size than they must.
var ErrIncomplete = errors.New("the upload is not complete")

// Part is one part of an upload in parts.
type Part struct {
	// Number counts from 1.
	Number int
	Size   int64
	// SHA256 is in hexadecimal. Of a part that is stored it is empty if the store keeps none.
	SHA256 string
}

// PartUpload is an upload in parts that is under way.
type PartUpload struct {
	key string
	id  string
	// Stored are the parts that the store has, by number.
	Stored []Part
	etags  []string
}

// PartCount is how many parts an artifact of so many bytes has.
func PartCount(size int64) int {
	return int(max(1, (size+UploadPartSize-1)/UploadPartSize))
}

// PartSizeOf is the size of a part of an artifact of so many bytes.
func PartSizeOf(size int64, number int) int64 {
	return min(UploadPartSize, size-int64(number-1)*UploadPartSize)
}

// Parts finds the upload in parts that is under way for a key, or begins one, and tells which parts are stored. Of
// several, which callers can only have begun at the same time, it is the same for all.
func (s *Store) Parts(ctx context.Context, key, contentType string) (PartUpload, error) {
	upload, err := s.underWay(ctx, key)
	if !errors.Is(err, ErrMissing) {
		return upload, err
	}
	if _, err := s.core().NewMultipartUpload(ctx, s.config.Bucket, key, minio.PutObjectOptions{
		ContentType:  contentType,
		UserMetadata: map[string]string{"X-Amz-Checksum-Algorithm": "SHA256"},
	}); err != nil {
		return PartUpload{}, storeError("begin an upload of", key, err)
	}
	return s.underWay(ctx, key) // another may have begun one, too
}

func (s *Store) core() minio.Core { return minio.Core{Client: s.client} }

// underWay finds the first upload in parts of a key, with its parts. It fails with ErrMissing if there is none.
func (s *Store) underWay(ctx context.Context, key string) (PartUpload, error) {
	page, err := s.core().ListMultipartUploads(ctx, s.config.Bucket, key, "", "", "", listed)
	if err != nil {
		return PartUpload{}, storeError("look for uploads of", key, err)
	}
	uploads := slices.DeleteFunc(page.Uploads, func(u minio.ObjectMultipartInfo) bool { return u.Key != key })
	if len(uploads) == 0 {
		return PartUpload{}, fmt.Errorf("%s: %w", key, ErrMissing)
	}
	first := slices.MinFunc(uploads, func(a, b minio.ObjectMultipartInfo) int {
		if c := a.Initiated.Compare(b.Initiated); c != 0 {
			return c
		}
		return strings.Compare(a.UploadID, b.UploadID)
	})
	upload := PartUpload{key: key, id: first.UploadID}
	parts, err := s.core().ListObjectParts(ctx, s.config.Bucket, key, upload.id, 0, listed)
	if err != nil {
		return PartUpload{}, storeError("list the parts of", key, err)
	}
	for _, p := range parts.ObjectParts {
		part := Part{Number: p.PartNumber, Size: p.Size}
		if sum, err := base64.StdEncoding.DecodeString(p.ChecksumSHA256); err == nil && len(sum) > 0 {
			part.SHA256 = hex.EncodeToString(sum)
		}
		upload.Stored, upload.etags = append(upload.Stored, part), append(upload.etags, p.ETag)
	}
	return upload, nil
}

// PresignPart makes the upload of one part, with its size and SHA-256 in the signature. It does no I/O.
func (s *Store) PresignPart(ctx context.Context, upload PartUpload, part Part) (Upload, error) {
	if err := s3utils.CheckValidObjectName(upload.key); err != nil {
		return Upload{}, fmt.Errorf("key %q: %w", upload.key, err)
	}
	checksum, err := base64Of(part.SHA256)
	if err != nil {
		return Upload{}, err
	}
	headers := http.Header{}
	headers.Set("Content-Length", strconv.FormatInt(part.Size, 10))
	headers.Set("X-Amz-Checksum-Sha256", checksum)
	query := url.Values{"partNumber": {strconv.Itoa(part.Number)}, "uploadId": {upload.id}}
	return s.presignPut(ctx, upload.key, query, headers)
}

// Complete makes the object out of its parts, all of which must be there; an object that is there already, with the
// size that was announced, is left as it is. It fails with ErrIncomplete, ErrMissing if nothing was uploaded, ErrRefused
// or ErrUnavailable. What the object's bytes are, Verify checks.
func (s *Store) Complete(ctx context.Context, key string, size int64) error {
	object, err := s.client.StatObject(ctx, s.config.Bucket, key, minio.StatObjectOptions{})
	if err == nil && object.Size == size {
		return nil
	}
	looked := storeError("look up", key, err)
	refused := errors.Is(looked, ErrRefused) // perhaps because it is not there yet
	if looked != nil && !refused && !errors.Is(looked, ErrMissing) {
		return looked
	}
	upload, err := s.underWay(ctx, key)
	if refused && errors.Is(err, ErrMissing) {
		return looked
	}
	if err != nil {
		return err
	}
	parts, err := upload.whole(size)
	if err != nil {
		return err
	}
	_, err = s.core().CompleteMultipartUpload(ctx, s.config.Bucket, key, upload.id, parts, minio.PutObjectOptions{})
	if err == nil || minio.ToErrorResponse(err).Code == "NoSuchUpload" { // completed by another meanwhile
		return nil
	}
	return storeError("complete", key, err)
}

// whole lists the parts for the store to put together.
func (u PartUpload) whole(size int64) ([]minio.CompletePart, error) {
	parts := make([]minio.CompletePart, 0, len(u.Stored))
	for number := 1; number <= PartCount(size); number++ {
		i := slices.IndexFunc(u.Stored, func(p Part) bool { return p.Number == number })
		if i < 0 {
			return nil, fmt.Errorf("%s: %w: part %d of %d is missing", u.key, ErrIncomplete, number, PartCount(size))
		}
		if want := PartSizeOf(size, number); u.Stored[i].Size != want {
			return nil, fmt.Errorf("%s: %w: part %d has %d bytes, not %d", u.key, ErrIncomplete, number, u.Stored[i].Size, want)
		}
		part := minio.CompletePart{PartNumber: number, ETag: u.etags[i]}
		if sum := u.Stored[i].SHA256; sum != "" {
			checksum, err := base64Of(sum)
			if err != nil {
				return nil, err
			}
			part.ChecksumSHA256 = checksum
		}
		parts = append(parts, part)
	}
	return parts, nil
}

// AbortUploads gives up the uploads in parts of tasks' artifacts that were begun longer ago than age, and gives the
// space of their parts back. It returns how many. It asks for them by a prefix of their keys, to which MinIO answers
// none, as it lists uploads by whole keys alone; MinIO gives those that are left up by itself, after a day unless it is
// told otherwise.
func (s *Store) AbortUploads(ctx context.Context, age time.Duration) (int, error) {
	aborted := 0
	for key, id := "", ""; ; {
		page, err := s.core().ListMultipartUploads(ctx, s.config.Bucket, keyPrefix, key, id, "", listed)
		if err != nil {
			return aborted, storeError("list uploads below", keyPrefix, err)
		}
		for _, u := range page.Uploads {
			if time.Since(u.Initiated) <= age {
				continue
			}
			err := s.core().AbortMultipartUpload(ctx, s.config.Bucket, u.Key, u.UploadID)
			if err != nil && minio.ToErrorResponse(err).Code != "NoSuchUpload" {
				return aborted, storeError("abort the upload of", u.Key, err)
			}
			aborted++
		}
		if key, id = page.NextKeyMarker, page.NextUploadIDMarker; !page.IsTruncated {
			return aborted, nil
		}
	}
}
