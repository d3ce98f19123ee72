// Package artifact keeps what agents leave behind, in object storage that speaks S3.
//
// Bytes never pass through Graf: an agent uploads by a presigned URL and people download by one. The upload's headers
// are part of the signature, so that a store which checks them refuses other content by itself; [Store.Verify] makes
// sure with every store before an artifact is shown. Of uploads in parts the store keeps all that there is to know.
package artifact
