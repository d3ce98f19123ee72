package s3test_test

import (
	"context"
	"strings"
	"testing"

	"github.com/minio/minio-go/v7"

	"github.com/graf-run/graf/shared/s3test"
)

func TestBucketIsRemovedWithItsObjects(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	observer := s3test.New(t)
	var name string
	t.Run("user", func(t *testing.T) {
		bucket := s3test.New(t)
		name = bucket.Name
		for _, key := range []string{"top", "folder/below"} {
			if _, err := bucket.Client.PutObject(ctx, name, key, strings.NewReader("x"), 1, minio.PutObjectOptions{}); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := bucket.Client.StatObject(ctx, observer.Name, "top", minio.StatObjectOptions{}); err == nil {
			t.Error("an object of one bucket is in another")
		}
	})
	if exists, err := observer.Client.BucketExists(ctx, name); err != nil || exists {
		t.Errorf("the bucket exists after the test: %v, %v", exists, err)
	}
}
