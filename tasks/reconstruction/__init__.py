"""tasks/reconstruction"""
