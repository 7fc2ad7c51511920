"""Who may use the server: API keys, the password of the dashboard, its sessions."""
