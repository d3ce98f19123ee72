package artifact

import (
	"context"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"mime"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
	"github.com/minio/minio-go/v7/pkg/s3utils"
)

// Store keeps artifacts in one bucket.
type Store struct {
	config Config
	client *minio.Client
	// public signs URLs for those who reach the store by another address. It is never connected.
	public *minio.Client
}

// New makes a store. It does no I/O.
func New(config Config) (*Store, error) {
	if err := config.Validate(); err != nil {
		return nil, err
	}
	client, err := connect(config, config.Endpoint)
	if err != nil {
		return nil, err
	}
	public := client
	if config.PublicEndpoint != "" {
		if public, err = connect(config, config.PublicEndpoint); err != nil {
			return nil, err
		}
	}
	return &Store{config: config, client: client, public: public}, nil
}

func connect(config Config, endpoint string) (*minio.Client, error) {
	parsed, err := url.Parse(endpoint)
	if err != nil {
		return nil, fmt.Errorf("parse the endpoint of object storage: %w", err)
	}
	client, err := minio.New(parsed.Host, &minio.Options{
		Creds:  credentials.NewStaticV4(config.AccessKeyID, config.SecretAccessKey, ""),
		Secure: parsed.Scheme == "https",
		// A known region spares a request for it, which presigning by the public address could not make.
		Region: config.Region,
		// One try: what failed comes again with its event or the sweep, and until then nothing else waits for it.
		MaxRetries: 1,
	})
	if err != nil {
		return nil, fmt.Errorf("set up object storage: %w", err)
	}
	return client, nil
}

// EnsureBucket makes the bucket unless it is there.
func (s *Store) EnsureBucket(ctx context.Context) error {
	err := s.client.MakeBucket(ctx, s.config.Bucket, minio.MakeBucketOptions{Region: s.config.Region})
	switch minio.ToErrorResponse(err).Code {
	case "BucketAlreadyOwnedByYou":
		return nil
	case "BucketAlreadyExists", "AccessDenied":
		// Some stores say so of one's own bucket, and one may be allowed to use a bucket but not to make one.
		exists, existsErr := s.client.BucketExists(ctx, s.config.Bucket)
		if existsErr == nil && exists {
			return nil
		}
	}
	if err != nil {
		return fmt.Errorf("make bucket %s: %w", s.config.Bucket, err)
	}
	return nil
}

// Upload is how to put an artifact into the store: a PUT of its bytes to the URL with exactly these headers.
type Upload struct {
	URL       string            `json:"url"`
	Method    string            `json:"method"`
	Headers   map[string]string `json:"headers"`
	ExpiresAt time.Time         `json:"expiresAt"`
}

// PresignUpload makes an upload of bytes with this size and SHA-256 (in hexadecimal). It does no I/O.
func (s *Store) PresignUpload(ctx context.Context, key, contentType string, size int64, sha256 string) (Upload, error) {
	// minio-go would sign for the whole bucket.
	if err := s3utils.CheckValidObjectName(key); err != nil {
		return Upload{}, fmt.Errorf("key %q: %w", key, err)
	}
	if err := ValidContentType(contentType); err != nil {
		return Upload{}, fmt.Errorf("content type %w", err)
	}
	if size < 0 || size > s.config.MaxBytes {
		return Upload{}, fmt.Errorf("size %d is not 0 to %d bytes", size, s.config.MaxBytes)
	}
	checksum, err := base64Of(sha256)
	if err != nil {
		return Upload{}, err
	}
	headers := http.Header{}
	headers.Set("Content-Type", contentType)
	headers.Set("Content-Length", strconv.FormatInt(size, 10))
	headers.Set("X-Amz-Checksum-Sha256", checksum)
	return s.presignPut(ctx, key, nil, headers)
}

// presignPut signs a PUT with exactly these headers.
func (s *Store) presignPut(ctx context.Context, key string, query url.Values, headers http.Header) (Upload, error) {
	expires := time.Now().Add(s.config.UploadExpiry)
	signed, err := s.public.PresignHeader(ctx, http.MethodPut, s.config.Bucket, key, s.config.UploadExpiry, query, headers)
	if err != nil {
		return Upload{}, fmt.Errorf("presign the upload of %s: %w", key, err)
	}
	upload := Upload{URL: signed.String(), Method: http.MethodPut, Headers: map[string]string{}, ExpiresAt: expires.UTC()}
	for name := range headers {
		upload.Headers[name] = headers.Get(name)
	}
	return upload, nil
}

// Download is how to get an artifact: a GET of the URL.
type Download struct {
	URL       string    `json:"url"`
	ExpiresAt time.Time `json:"expiresAt"`
}

// PresignDownload makes a download that browsers save as a file of this name. It does no I/O.
func (s *Store) PresignDownload(ctx context.Context, key, name string) (Download, error) {
	if err := ValidName(name); err != nil {
		return Download{}, fmt.Errorf("name %w", err)
	}
	// An attachment is never run in the page that links to it. FormatMediaType escapes the name (RFC 2231, RFC 6266).
	answer := url.Values{"response-content-disposition": {mime.FormatMediaType("attachment", map[string]string{"filename": name})}}
	expires := time.Now().Add(s.config.DownloadExpiry)
	signed, err := s.public.PresignedGetObject(ctx, s.config.Bucket, key, s.config.DownloadExpiry, answer)
	if err != nil {
		return Download{}, fmt.Errorf("presign the download of %s: %w", key, err)
	}
	return Download{URL: signed.String(), ExpiresAt: expires.UTC()}, nil
}

func base64Of(sha256 string) (string, error) {
	if err := ValidSHA256(sha256); err != nil {
		return "", fmt.Errorf("sha256 %w", err)
	}
	raw, err := hex.DecodeString(sha256)
	if err != nil {
		return "", fmt.Errorf("sha256: %w", err)
	}
	return base64.StdEncoding.EncodeToString(raw), nil
}
