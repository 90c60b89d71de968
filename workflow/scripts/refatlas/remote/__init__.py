"""Files by address: http, S3 and CELLxGENE, fetched once into a cache that runs share."""
