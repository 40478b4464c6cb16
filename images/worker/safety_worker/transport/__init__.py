"""Where files come from: hubs, buckets, web servers, folders; nothing here knows what the files are for."""
